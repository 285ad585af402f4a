/* Measures calls with a cached token. Prints `name value` lines for binding.rs. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <layerfi_auth.h>

/* Many short measurements, so that other programs disturb only some of them. */
enum { ROUNDS = 20000, REPEATS = 1000 };

static layerfi_client *client;

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double resident_kb(void) {
    long pages = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm == NULL || fscanf(statm, "%ld %ld", &pages, &resident) != 2) {
        exit(1);
    }
    fclose(statm);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024;
}

static void empty(void) {
    if (layerfi_abi_version() == 0) {
        abort();
    }
}

static void copy(void) {
    char buffer[4096];
    size_t length = 0;
    if (layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, buffer, sizeof buffer, &length,
                                          NULL) != LAYERFI_RESULT_OK) {
        abort();
    }
}

static void handle(void) {
    layerfi_token *token = NULL;
    if (layerfi_client_token(client, LAYERFI_DEFAULT, &token, NULL) != LAYERFI_RESULT_OK ||
        layerfi_token_authorization(token).len == 0) {
        abort();
    }
    layerfi_token_free(token);
}

/* The minimum for copy(): a memcpy of the same number of bytes. */
static char text[4096];
static volatile size_t text_length;

static void copy_only(void) {
    char buffer[4096];
    memcpy(buffer, text, text_length);
    __asm__ volatile("" : : "r"(buffer) : "memory");
}

struct run {
    void (*call)(void);
    pthread_barrier_t *start;
    double started, ended;
};

static void *loop(void *argument) {
    struct run *run = argument;
    pthread_barrier_wait(run->start);
    run->started = now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        run->call();
    }
    run->ended = now_ns();
    return NULL;
}

/* The shortest of several measurements, in nanoseconds per call and thread, from the
 * start of the first thread to the end of the last. */
static double measure(void (*call)(void), unsigned threads) {
    double least = 1e18;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        pthread_t others[8];
        struct run runs[8];
        pthread_barrier_t start;
        pthread_barrier_init(&start, NULL, threads);
        for (unsigned i = 0; i < threads; i++) {
            runs[i] = (struct run){call, &start, 0, 0};
            if (i > 0 && pthread_create(&others[i], NULL, loop, &runs[i]) != 0) {
                exit(1);
            }
        }
        loop(&runs[0]);
        double started = runs[0].started, ended = runs[0].ended;
        for (unsigned i = 1; i < threads; i++) {
            pthread_join(others[i], NULL);
            started = runs[i].started < started ? runs[i].started : started;
            ended = runs[i].ended > ended ? runs[i].ended : ended;
        }
        pthread_barrier_destroy(&start);
        double took = (ended - started) / ROUNDS;
        least = took < least ? took : least;
    }
    return least;
}

int main(void) {
    double before_kb = resident_kb(), started = now_ns();
    if (layerfi_client_from_env(&client, NULL) != LAYERFI_RESULT_OK) {
        return 1;
    }
    double built = now_ns();
    layerfi_token *token = NULL;
    if (layerfi_client_token(client, LAYERFI_DEFAULT, &token, NULL) != LAYERFI_RESULT_OK) {
        return 1;
    }
    double got = now_ns();
    printf("client_us %f\n", (built - started) / 1e3);
    printf("first_token_us %f\n", (got - built) / 1e3);
    printf("memory_kb %f\n", resident_kb() - before_kb);
    layerfi_str value = layerfi_token_authorization(token);
    text_length = value.len + 1;
    printf("header_bytes %zu\n", value.len);
    layerfi_token_free(token);
    printf("empty %f\n", measure(empty, 1));
    printf("memcpy %f\n", measure(copy_only, 1));
    printf("memcpy_2 %f\n", measure(copy_only, 2));
    printf("copy %f\n", measure(copy, 1));
    printf("copy_2 %f\n", measure(copy, 2));
    printf("handle %f\n", measure(handle, 1));
    printf("handle_2 %f\n", measure(handle, 2));
    layerfi_client_free(client);
    return 0;
}
