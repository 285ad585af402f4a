/* What the test programs share: checks, a client of the emulator, and orders to
 * the emulator. The environment has LAYER_* and LAYER_EMULATOR_CONTROL_PORT. */
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

/* Ends the program at the first thing that is wrong, at once and without its
 * exit handlers, so that a forked child does not clean up after its parent. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* Checks a result, and tells the error where it is another. */
#define CHECK_RESULT(expected, call)                                                               \
    do {                                                                                           \
        layerfi_error *error = NULL;                                                               \
        layerfi_result result_ = (call);                                                           \
        if (result_ != (expected) || (result_ == LAYERFI_RESULT_OK) != (error == NULL) ||          \
            layerfi_error_result(error) != result_) {                                              \
            fprintf(stderr, "%s:%d: %s is %s: %s\n", __FILE__, __LINE__, #call,                    \
                    layerfi_result_name(result_).data, layerfi_error_display(error).data);         \
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

static UNUSED layerfi_client *new_client(void) {
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_from_env(&client, &error));
    return client;
}

/* An order to the emulator; its answer's body is written to `answer`. */
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
    static const size_t enough = 1 << 16;
    char *got = calloc(1, enough);
    size_t at = 0;
    for (;;) {
        ssize_t more = read(socket_fd, got + at, enough - 1 - at);
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

static UNUSED void order(const char *path, const char *body) {
    control("POST", path, body, NULL, 0);
}

/* How many requests an endpoint of the emulator has got. */
static UNUSED long requests(const char *endpoint) {
    static const size_t enough = 1 << 16;
    char *answer = malloc(enough);
    control("GET", "/counters", "", answer, enough);
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
