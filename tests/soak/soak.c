/* The C program of the soak test: threads that make calls all the time, and
 * clients that are created and freed. tests/rust/src/bin/soak_client.rs documents
 * the arguments and the protocol; tests/rust/tests/soak checks the results. */

#include "../c/check.h"

#include <stdatomic.h>

enum { THREADS = 12 };

/* The client reads the kernel's coarse clock, which lags by up to one tick:
 * 10 ms with the slowest tick, 100 Hz. */
#define CLOCK_TICK_US 10000
/* The longest back-off after failures is 5 s; the rest is for a busy machine. */
#define RECOVERY_LIMIT_S 60

static const layerfi_client *shared;
static uint64_t timeout_ms, attempt_ms, connect_ms;
static unsigned businesses;
static atomic_bool stop;
static _Atomic uint64_t served, slowest_ms, max_expired_us, short_lived;
/* By layerfi_result. */
static _Atomic uint64_t failed[LAYERFI_RESULT_PROTOCOL + 1];

static unsigned random_below(uint64_t *state, unsigned bound) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (unsigned)(*state % bound);
}

static void raise_to(_Atomic uint64_t *most, uint64_t value) {
    uint64_t now = atomic_load(most);
    while (now < value && !atomic_compare_exchange_weak(most, &now, value)) {
    }
}

static int64_t wall_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Without free file descriptors this can fail: it reads the CA file. */
static layerfi_result soak_client(layerfi_client **client, layerfi_error **failure) {
    layerfi_client_builder *builder = NULL;
    CHECK_OK(layerfi_client_builder_from_env(&builder, &error));
    CHECK_OK(layerfi_client_builder_set_no_proxy(builder, &error));
    CHECK_OK(layerfi_client_builder_set_timeout_ms(builder, timeout_ms, &error));
    CHECK_OK(layerfi_client_builder_set_attempt_timeout_ms(builder, attempt_ms, &error));
    CHECK_OK(layerfi_client_builder_set_connect_timeout_ms(builder, connect_ms, &error));
    layerfi_result result = layerfi_client_builder_build(builder, client, failure);
    layerfi_client_builder_free(builder);
    return result;
}

/* The start of a call on both clocks. */
struct call_start {
    double at_s;
    int64_t wall_us;
};

static struct call_start start_call(void) {
    return (struct call_start){now_s(), wall_us()};
}

/* Records the outcome of a call and frees its error, which must have a cause
 * outside the client. (The error is passed by pointer because the order in which
 * C evaluates arguments is unspecified.) */
static bool record(struct call_start start, layerfi_result result, layerfi_error **failure) {
    layerfi_error *error = *failure;
    raise_to(&slowest_ms, (uint64_t)((now_s() - start.at_s) * 1000));
    CHECK(layerfi_error_result(error) == result);
    if (result == LAYERFI_RESULT_OK) {
        CHECK(error == NULL);
        return true;
    }
    CHECK(result >= LAYERFI_RESULT_TRANSPORT && result <= LAYERFI_RESULT_PROTOCOL);
    CHECK(layerfi_error_message(error).len > 0 && layerfi_error_remedy(error).len > 0);
    layerfi_error_free(error);
    atomic_fetch_add(&failed[result], 1);
    return false;
}

/* A token must have been valid when it was requested. */
static void check_valid(struct call_start start, int64_t expires_at_ms) {
    CHECK(expires_at_ms > 0);
    int64_t expired_us = start.wall_us - expires_at_ms * 1000;
    CHECK(expired_us < CLOCK_TICK_US);
    raise_to(&max_expired_us, expired_us > 0 ? (uint64_t)expired_us : 0);
    atomic_fetch_add(&served, 1);
}

/* The last token of a thread: a copied header has no expiry, but the handle of
 * the same token has. */
struct last {
    layerfi_token *token;
};

static void take_token(const layerfi_client *client, struct last *last) {
    layerfi_token *token = NULL;
    layerfi_error *error = NULL;
    struct call_start start = start_call();
    if (record(start, layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error), &error)) {
        check_valid(start, layerfi_token_expires_at_ms(token));
        layerfi_token_free(last->token);
        last->token = token;
    }
}

static bool is_last(const struct last *last, const char *header) {
    return last->token != NULL && is(layerfi_token_authorization(last->token), header);
}

static void copy_header(const layerfi_client *client, struct last *last, bool wait) {
    char header[4096];
    size_t length = 0;
    layerfi_error *error = NULL;
    struct call_start start = start_call();
    layerfi_result result;
    if (wait) {
        result = layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, header, sizeof header,
                                                   &length, &error);
    } else {
        result =
            layerfi_client_try_copy_authorization(client, header, sizeof header, &length, &error);
        if (result == LAYERFI_RESULT_NOT_AVAILABLE) {
            layerfi_error_free(error);
            return;
        }
    }
    if (!record(start, result, &error)) {
        return;
    }
    CHECK(strlen(header) == length && strncmp(header, "Bearer ", 7) == 0);
    if (!is_last(last, header)) {
        take_token(client, last);
    }
    /* If the token was replaced in between, there is nothing to compare with. */
    if (is_last(last, header)) {
        check_valid(start, layerfi_token_expires_at_ms(last->token));
    }
}

static void take_business_token(const layerfi_client *client, unsigned number) {
    char id[40];
    snprintf(id, sizeof id, "00000000-0000-4000-8000-%012x", number);
    layerfi_business_token *token = NULL;
    layerfi_error *error = NULL;
    struct call_start start = start_call();
    layerfi_result result = layerfi_client_business_token(
        client, id, LAYERFI_DEFAULT, LAYERFI_DEFAULT, LAYERFI_DEFAULT, &token, &error);
    if (record(start, result, &error)) {
        CHECK(is(layerfi_business_token_business_id(token), id));
        check_valid(start, layerfi_business_token_expires_at_ms(token));
        layerfi_business_token_free(token);
    }
}

static bool take_whoami(const layerfi_client *client) {
    layerfi_whoami *whoami = NULL;
    layerfi_error *error = NULL;
    struct call_start start = start_call();
    bool good =
        record(start, layerfi_client_whoami(client, LAYERFI_DEFAULT, &whoami, &error), &error);
    layerfi_whoami_free(whoami);
    return good;
}

/* Creates and frees a client, with its connections. */
static void use_short_lived_client(void) {
    layerfi_client *client = NULL;
    layerfi_error *error = NULL;
    struct last last = {0};
    struct call_start start = start_call();
    if (!record(start, soak_client(&client, &error), &error)) {
        return;
    }
    atomic_fetch_add(&short_lived, 1);
    take_token(client, &last);
    layerfi_client_free(client);
    layerfi_token_free(last.token);
}

static void *work(void *argument) {
    uint64_t state = *(unsigned *)argument * UINT64_C(15485863) + 1;
    struct last last = {0};
    while (!atomic_load(&stop)) {
        switch (random_below(&state, 64) == 0 ? 8 : random_below(&state, 8)) {
        case 0:
            take_business_token(shared, random_below(&state, businesses));
            break;
        case 1:
            take_whoami(shared);
            break;
        case 2:
        case 3:
            take_token(shared, &last);
            break;
        case 4:
            copy_header(shared, &last, false);
            break;
        case 8:
            use_short_lived_client();
            break;
        default:
            copy_header(shared, &last, true);
        }
        sleep_ms(5 + (long)random_below(&state, 50));
    }
    layerfi_token_free(last.token);
    return NULL;
}

/* Reads one line; exits if standard input is closed because the parent ended.
 * Returns whether it is `count`. */
static bool wait_for_a_line(void) {
    char line[16];
    if (fgets(line, sizeof line, stdin) == NULL) {
        _exit(1);
    }
    return strcmp(line, "count\n") == 0;
}

static uint64_t failed_calls(void) {
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof failed / sizeof *failed; i++) {
        sum += atomic_load(&failed[i]);
    }
    return sum;
}

static void print_figures(const layerfi_stats *stats, double recovered_s) {
    uint64_t failures = 0;
    for (size_t i = 0; i < sizeof stats->failures / sizeof *stats->failures; i++) {
        failures += stats->failures[i];
    }
    printf("{\"served\":%" PRIu64 ",\"max_expired_us\":%" PRIu64 ",\"slowest_ms\":%" PRIu64
           ",\"recovered_ms\":%.0f,\"short_lived\":%" PRIu64 ",\"failed\":{",
           atomic_load(&served), atomic_load(&max_expired_us), atomic_load(&slowest_ms),
           recovered_s * 1000, atomic_load(&short_lived));
    const char *comma = "";
    for (uint32_t i = 0; i < sizeof failed / sizeof *failed; i++) {
        if (failed[i] > 0) {
            printf("%s\"%s\":%" PRIu64, comma, layerfi_result_name(i).data, failed[i]);
            comma = ",";
        }
    }
    printf(
        "},\"clients\":[{\"hits\":%" PRIu64 ",\"stale_serves\":%" PRIu64 ",\"refreshes\":%" PRIu64
        ",\"token_requests\":%" PRIu64 ",\"mints\":%" PRIu64 ",\"retries\":%" PRIu64
        ",\"invalidations\":%" PRIu64 ",\"failures\":%" PRIu64 ",\"shared_adopted\":%" PRIu64
        ",\"shared_published\":%" PRIu64 ",\"shared_alone\":%" PRIu64
        ",\"shared_rejected\":%" PRIu64 ",\"shared_faults\":%" PRIu64 "}]}\n",
        stats->hits, stats->stale_serves, stats->refreshes, stats->token_requests, stats->mints,
        stats->retries, stats->invalidations, failures, stats->shared_adopted,
        stats->shared_published, stats->shared_alone, stats->shared_rejected, stats->shared_faults);
    fflush(stdout);
}

int main(int count, char **arguments) {
    CHECK(count == 5);
    timeout_ms = strtoull(arguments[1], NULL, 10);
    attempt_ms = strtoull(arguments[2], NULL, 10);
    connect_ms = strtoull(arguments[3], NULL, 10);
    businesses = (unsigned)strtoul(arguments[4], NULL, 10);
    layerfi_client *client = NULL;
    CHECK_OK(soak_client(&client, &error));
    shared = client;
    /* The library's background thread runs until the process ends; it exists
     * from now on. */
    CHECK(take_whoami(client));
    printf("{\"callers\":%u}\n", THREADS + businesses);
    fflush(stdout);

    wait_for_a_line();
    pthread_t threads[THREADS];
    unsigned numbers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, work, &numbers[i]) == 0);
    }
    puts("{}");
    fflush(stdout);

    uint64_t counted = 0;
    while (wait_for_a_line()) {
        uint64_t now = failed_calls();
        printf("{\"failed\":%" PRIu64 "}\n", now - counted);
        fflush(stdout);
        counted = now;
    }
    double started = now_s();
    while (!take_whoami(client)) {
        CHECK(now_s() - started < RECOVERY_LIMIT_S);
        sleep_ms(100);
    }
    double recovered = now_s() - started;
    atomic_store(&stop, true);
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    layerfi_stats stats;
    CHECK_OK(layerfi_client_stats(client, &stats, sizeof stats, &error));
    layerfi_client_free(client);
    print_figures(&stats, recovered);

    wait_for_a_line();
    return 0;
}
