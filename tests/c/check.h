/* Shared by the test programs: checks, a client for the emulator, and requests to
 * the emulator's control API. The environment has LAYER_* and
 * LAYER_EMULATOR_CONTROL_PORT. */
#ifndef LAYERFI_TESTS_CHECK_H
#define LAYERFI_TESTS_CHECK_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <layerfi_auth.h>

#define BUSINESS "3fa85f64-5717-4562-b3fc-2c963f66afa6"

/* Ends the program if a condition is false. Without exit handlers, so that a
 * forked child does not clean up after its parent. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition);          \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* Checks a result, and prints the error if it is another. */
#define CHECK_RESULT(expected, call)                                                               \
    do {                                                                                           \
        layerfi_error *error = NULL;                                                               \
        layerfi_result result_ = (call);                                                           \
        if (result_ != (expected) || (result_ == LAYERFI_RESULT_OK) != (error == NULL) ||          \
            layerfi_error_result(error) != result_) {                                              \
            fprintf(stderr, "%s:%d: %s returned %s, expected %s: %s\n", __FILE__, __LINE__, #call, \
                    layerfi_result_name(result_).data, layerfi_result_name(expected).data,         \
                    layerfi_error_display(error).data);                                            \
            _exit(1);                                                                              \
        }                                                                                          \
        layerfi_error_free(error);                                                                 \
    } while (0)

/* A call whose last argument is `&error`. */
#define CHECK_OK(call) CHECK_RESULT(LAYERFI_RESULT_OK, call)

#define UNUSED __attribute__((unused))

static UNUSED double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static UNUSED void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0) {
    }
}

/* Whether a sanitizer or valgrind makes the program slow. */
static UNUSED bool is_slow(void) {
    return getenv("LAYERFI_TEST_SLOW") != NULL;
}

/* A builder whose timeouts never pass, however slow the machine is. */
static UNUSED layerfi_client_builder *new_builder(void) {
    static const uint64_t minutes = 60 * 1000;
    layerfi_client_builder *builder = NULL;
    CHECK_OK(layerfi_client_builder_from_env(&builder, &error));
    CHECK_OK(layerfi_client_builder_set_timeout_ms(builder, 20 * minutes, &error));
    CHECK_OK(layerfi_client_builder_set_connect_timeout_ms(builder, 10 * minutes, &error));
    CHECK_OK(layerfi_client_builder_set_attempt_timeout_ms(builder, 10 * minutes, &error));
    return builder;
}

static UNUSED layerfi_client *new_client(void) {
    layerfi_client_builder *builder = new_builder();
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    return client;
}

/* Sends a request to the control API. Copies the response's body to `answer`. */
static UNUSED void control(const char *method, const char *path, const char *body, char *answer,
                           size_t capacity) {
    const char *port = getenv("LAYER_EMULATOR_CONTROL_PORT");
    CHECK(port != NULL);
    struct sockaddr_in address = {0};
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int socket_fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(socket_fd, (struct sockaddr *)&address, sizeof address) == 0);
    char text[4096];
    int length = snprintf(text, sizeof text,
                          "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          method, path, port, strlen(body), body);
    CHECK(length > 0 && (size_t)length < sizeof text);
    CHECK(write(socket_fd, text, (size_t)length) == length);
    static const size_t max_length = 1 << 16;
    char *got = calloc(1, max_length);
    size_t at = 0;
    for (;;) {
        ssize_t more = read(socket_fd, got + at, max_length - 1 - at);
        CHECK(more >= 0);
        if (more == 0) {
            break;
        }
        at += (size_t)more;
    }
    close(socket_fd);
    CHECK(strncmp(got, "HTTP/1.1 2", 10) == 0);
    char *end = strstr(got, "\r\n\r\n");
    CHECK(end != NULL);
    if (answer != NULL) {
        snprintf(answer, capacity, "%s", end + 4);
    }
    free(got);
}

static UNUSED void post(const char *path, const char *body) {
    control("POST", path, body, NULL, 0);
}

/* The number of requests to an endpoint of the emulator. */
static UNUSED long requests(const char *endpoint) {
    static const size_t max_length = 1 << 16;
    char *answer = malloc(max_length);
    control("GET", "/counters", "", answer, max_length);
    char *endpoints = strstr(answer, "\"endpoints\"");
    CHECK(endpoints != NULL);
    char name[64];
    snprintf(name, sizeof name, "\"%s\":{", endpoint);
    char *at = strstr(endpoints, name);
    CHECK(at != NULL);
    at = strstr(at, "\"total\":");
    CHECK(at != NULL);
    long total = strtol(at + strlen("\"total\":"), NULL, 10);
    free(answer);
    return total;
}

static UNUSED int is(layerfi_str view, const char *text) {
    return view.len == strlen(text) && strcmp(view.data, text) == 0;
}

#endif
