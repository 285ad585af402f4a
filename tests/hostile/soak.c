/* The C program's part in the soak: threads that call all the time, and clients
 * that come and go. tests/rust/src/bin/soak_client.rs says how it is started,
 * told what to do, and answers; tests/rust/tests/soak judges the figures. */

#include "../c/check.h"

#include <stdatomic.h>

enum { THREADS = 12 };

/* The client's clock is the kernel's coarse one, which is behind by up to a
 * tick: 10 ms at 100 Hz, the slowest kernel there is. */
#define CLOCK_TICK_US 10000
/* The longest quiet time after failures is 5 s. */
#define HEALED_WITHIN_S 10

static const layerfi_client *shared;
static uint64_t timeout_ms, attempt_ms, connect_ms;
static unsigned businesses;
static atomic_bool stop;
static _Atomic uint64_t served, slowest_ms, deadest_us, passed;
/* By layerfi_result. */
static _Atomic uint64_t failed[LAYERFI_RESULT_PROTOCOL + 1];

static unsigned roll(uint64_t *dice, unsigned sides) {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    return (unsigned)(*dice % sides);
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

static layerfi_client *soak_client(void) {
    layerfi_client_builder *builder = NULL;
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_from_env(&builder, &error));
    CHECK_OK(layerfi_client_builder_set_no_proxy(builder, &error));
    CHECK_OK(layerfi_client_builder_set_timeout_ms(builder, timeout_ms, &error));
    CHECK_OK(layerfi_client_builder_set_attempt_timeout_ms(builder, attempt_ms, &error));
    CHECK_OK(layerfi_client_builder_set_connect_timeout_ms(builder, connect_ms, &error));
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    return client;
}

/* When a call began, on both clocks. */
struct asked {
    double at_s;
    int64_t wall_us;
};

static struct asked ask(void) {
    return (struct asked){now_s(), wall_us()};
}

/* Notes how a call ended and frees its error. What it failed with must be the
 * world's fault. (A pointer: the order of a call's arguments is nobody's.) */
static bool note(struct asked asked, layerfi_result result, layerfi_error **failure) {
    layerfi_error *error = *failure;
    raise_to(&slowest_ms, (uint64_t)((now_s() - asked.at_s) * 1000));
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

/* What was served must have been alive when it was asked for. */
static void alive(struct asked asked, int64_t expires_at_ms) {
    CHECK(expires_at_ms > 0);
    int64_t dead_us = asked.wall_us - expires_at_ms * 1000;
    CHECK(dead_us < CLOCK_TICK_US);
    raise_to(&deadest_us, dead_us > 0 ? (uint64_t)dead_us : 0);
    atomic_fetch_add(&served, 1);
}

/* A token that a thread had last: a copied header does not tell its end, but
 * the handle of the same token does. */
struct last {
    layerfi_token *token;
};

static void take_token(const layerfi_client *client, struct last *last) {
    layerfi_token *token = NULL;
    layerfi_error *error = NULL;
    struct asked asked = ask();
    if (note(asked, layerfi_client_token(client, 0, &token, &error), &error)) {
        alive(asked, layerfi_token_expires_at_ms(token));
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
    struct asked asked = ask();
    layerfi_result result;
    if (wait) {
        result =
            layerfi_client_copy_authorization(client, 0, header, sizeof header, &length, &error);
    } else {
        result =
            layerfi_client_try_copy_authorization(client, header, sizeof header, &length, &error);
        if (result == LAYERFI_RESULT_NOT_AVAILABLE) {
            layerfi_error_free(error);
            return;
        }
    }
    if (!note(asked, result, &error)) {
        return;
    }
    CHECK(strlen(header) == length && strncmp(header, "Bearer ", 7) == 0);
    if (!is_last(last, header)) {
        take_token(client, last);
    }
    /* Another one meanwhile: rare, and nothing to compare with. */
    if (is_last(last, header)) {
        alive(asked, layerfi_token_expires_at_ms(last->token));
    }
}

static void take_business_token(const layerfi_client *client, unsigned number) {
    char id[40];
    snprintf(id, sizeof id, "00000000-0000-4000-8000-%012x", number);
    layerfi_business_token *token = NULL;
    layerfi_error *error = NULL;
    struct asked asked = ask();
    layerfi_result result =
        layerfi_client_business_token(client, id, LAYERFI_SESSION_DURATION_DEFAULT,
                                      LAYERFI_MIN_REMAINING_DEFAULT, 0, &token, &error);
    if (note(asked, result, &error)) {
        CHECK(is(layerfi_business_token_business_id(token), id));
        alive(asked, layerfi_business_token_expires_at_ms(token));
        layerfi_business_token_free(token);
    }
}

static bool take_whoami(const layerfi_client *client) {
    layerfi_whoami *whoami = NULL;
    layerfi_error *error = NULL;
    struct asked asked = ask();
    bool good = note(asked, layerfi_client_whoami(client, 0, &whoami, &error), &error);
    layerfi_whoami_free(whoami);
    return good;
}

/* A client that comes and goes, with all that it opens. */
static void pass(void) {
    layerfi_client *client = soak_client();
    struct last last = {0};
    atomic_fetch_add(&passed, 1);
    take_token(client, &last);
    layerfi_client_free(client);
    layerfi_token_free(last.token);
}

static void *work(void *argument) {
    uint64_t dice = *(unsigned *)argument * UINT64_C(15485863) + 1;
    struct last last = {0};
    while (!atomic_load(&stop)) {
        switch (roll(&dice, 64) == 0 ? 8 : roll(&dice, 8)) {
        case 0:
            take_business_token(shared, roll(&dice, businesses));
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
            pass();
            break;
        default:
            copy_header(shared, &last, true);
        }
        sleep_ms(5 + (long)roll(&dice, 50));
    }
    layerfi_token_free(last.token);
    return NULL;
}

/* Ends the process where there will be none: whoever started it is gone. */
static void wait_for_a_line(void) {
    char line[16];
    if (fgets(line, sizeof line, stdin) == NULL) {
        _exit(1);
    }
}

static void print_figures(const layerfi_stats *stats, double healed_s) {
    uint64_t failures = 0;
    for (size_t i = 0; i < sizeof stats->failures / sizeof *stats->failures; i++) {
        failures += stats->failures[i];
    }
    printf("{\"served\":%" PRIu64 ",\"deadest_us\":%" PRIu64 ",\"slowest_ms\":%" PRIu64
           ",\"healed_ms\":%.0f,\"passed\":%" PRIu64 ",\"failed\":{",
           atomic_load(&served), atomic_load(&deadest_us), atomic_load(&slowest_ms),
           healed_s * 1000, atomic_load(&passed));
    const char *comma = "";
    for (uint32_t i = 0; i < sizeof failed / sizeof *failed; i++) {
        if (failed[i] > 0) {
            printf("%s\"%s\":%" PRIu64, comma, layerfi_result_name(i).data, failed[i]);
            comma = ",";
        }
    }
    printf("},\"clients\":[{\"hits\":%" PRIu64 ",\"stale_serves\":%" PRIu64
           ",\"refreshes\":%" PRIu64 ",\"token_requests\":%" PRIu64 ",\"mints\":%" PRIu64
           ",\"retries\":%" PRIu64 ",\"invalidations\":%" PRIu64 ",\"failures\":%" PRIu64 "}]}\n",
           stats->hits, stats->stale_serves, stats->refreshes, stats->token_requests, stats->mints,
           stats->retries, stats->invalidations, failures);
    fflush(stdout);
}

int main(int count, char **arguments) {
    CHECK(count == 5);
    timeout_ms = strtoull(arguments[1], NULL, 10);
    attempt_ms = strtoull(arguments[2], NULL, 10);
    connect_ms = strtoull(arguments[3], NULL, 10);
    businesses = (unsigned)strtoul(arguments[4], NULL, 10);
    layerfi_client *client = soak_client();
    shared = client;
    /* The library's background thread stays for the process's life; it is
     * there from now on. */
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

    wait_for_a_line();
    double started = now_s();
    while (!take_whoami(client)) {
        CHECK(now_s() - started < HEALED_WITHIN_S);
        sleep_ms(100);
    }
    double healed = now_s() - started;
    atomic_store(&stop, true);
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    layerfi_stats stats;
    CHECK_OK(layerfi_client_stats(client, &stats, sizeof stats, &error));
    layerfi_client_free(client);
    print_figures(&stats, healed);

    wait_for_a_line();
    return 0;
}
