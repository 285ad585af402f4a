/* B2, B3: many threads use one client. */

#include "check.h"

#define HERD 32

static const layerfi_client *shared;
static pthread_barrier_t barrier;

static void start(pthread_t *threads, size_t count, void *(*body)(void *), void *arguments,
                  size_t size) {
    for (size_t i = 0; i < count; i++) {
        CHECK(pthread_create(&threads[i], NULL, body, (char *)arguments + i * size) == 0);
    }
}

static void join(pthread_t *threads, size_t count) {
    for (size_t i = 0; i < count; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

/* Waits until all callers wait for one request and it has arrived, then lets its
 * response go. `before` is the number of earlier requests. */
static void release_when_all_wait(long before) {
    layerfi_stats stats;
    do {
        sleep_ms(1);
        CHECK_OK(layerfi_client_stats(shared, &stats, sizeof stats, &error));
    } while (stats.waits < HERD || requests("token") == before);
    post("/release", "{}");
}

static void *get_one(void *out) {
    pthread_barrier_wait(&barrier);
    CHECK_OK(layerfi_client_token(shared, LAYERFI_DEFAULT, out, &error));
    return NULL;
}

static void *prepare_and_get_one(void *out) {
    pthread_barrier_wait(&barrier);
    /* They do not wait for the response, which is held. */
    for (int i = 0; i < 30; i++) {
        CHECK_OK(layerfi_client_prepare(shared, &error));
    }
    CHECK_OK(layerfi_client_token(shared, LAYERFI_DEFAULT, out, &error));
    return NULL;
}

/* Many callers and an empty cache: one request, and the same token for all. The
 * handles are freed by another thread. */
static void b02_cold_herd_makes_one_request(void *(*caller)(void *)) {
    layerfi_client *client = new_client();
    shared = client;
    post("/faults", "{\"endpoint\":\"token\",\"hold\":true}");
    long before = requests("token");
    pthread_t threads[HERD];
    layerfi_token *tokens[HERD] = {0};
    CHECK(pthread_barrier_init(&barrier, NULL, HERD) == 0);
    start(threads, HERD, caller, tokens, sizeof *tokens);
    release_when_all_wait(before);
    join(threads, HERD);
    CHECK(requests("token") == before + 1);
    layerfi_client_free(client);
    for (size_t i = 0; i < HERD; i++) {
        CHECK(is(layerfi_token_secret(tokens[i]), layerfi_token_secret(tokens[0]).data));
    }
    for (size_t i = 0; i < HERD; i++) {
        layerfi_token_free(tokens[i]);
    }
    pthread_barrier_destroy(&barrier);
}

static void *fail_one(void *unused) {
    (void)unused;
    pthread_barrier_wait(&barrier);
    layerfi_token *token = NULL;
    layerfi_error *error = NULL;
    CHECK(layerfi_client_token(shared, LAYERFI_DEFAULT, &token, &error) == LAYERFI_RESULT_OAUTH);
    CHECK(token == NULL && is(layerfi_error_oauth_error(error), "invalid_client"));
    layerfi_error_free(error);
    return NULL;
}

/* Many callers and an error response: one request, and the same error for all. */
static void b03_failing_herd_gets_one_error(void) {
    layerfi_client *client = new_client();
    shared = client;
    post("/faults", "{\"endpoint\":\"token\",\"status\":400,\"times\":\"forever\",\"body\":"
                    "{\"error\":\"invalid_client\"},\"hold\":true}");
    long before = requests("token");
    pthread_t threads[HERD];
    CHECK(pthread_barrier_init(&barrier, NULL, HERD) == 0);
    start(threads, HERD, fail_one, threads, 0);
    release_when_all_wait(before);
    join(threads, HERD);
    CHECK(requests("token") == before + 1);
    pthread_barrier_destroy(&barrier);
    control("DELETE", "/faults", "", NULL, 0);
    layerfi_client_free(client);
}

/* For everything_at_once(). */
static int stop;
static int log_lines;

static void take_log(void *userdata, uint32_t level, layerfi_str message) {
    (void)userdata;
    CHECK(level > 0 && message.len > 0);
    __atomic_add_fetch(&log_lines, 1, __ATOMIC_SEQ_CST);
}

static bool go_on(void *userdata, const layerfi_batch_progress *so_far) {
    (void)userdata;
    return so_far->total > 0;
}

static void *hammer(void *argument) {
    unsigned number = *(unsigned *)argument;
    char buffer[4096];
    size_t length = 0;
    unsigned rounds = 0;
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST) || rounds < 3) {
        rounds++;
        layerfi_token *token = NULL;
        CHECK_OK(layerfi_client_token(shared, LAYERFI_DEFAULT, &token, &error));
        CHECK_OK(layerfi_client_copy_authorization(shared, LAYERFI_DEFAULT, buffer, sizeof buffer,
                                                   &length, &error));
        CHECK(strlen(buffer) == length);
        layerfi_business_token *business = NULL;
        CHECK_OK(layerfi_client_business_token(shared, BUSINESS, 3600, LAYERFI_DEFAULT,
                                               LAYERFI_DEFAULT, &business, &error));
        layerfi_stats stats;
        CHECK_OK(layerfi_client_stats(shared, &stats, sizeof stats, &error));
        if (rounds % 50 == number) {
            /* Like a caller after a 401. */
            CHECK_OK(layerfi_client_invalidate(shared, token, NULL, &error));
            CHECK_OK(layerfi_client_invalidate_business_token(shared, business, NULL, &error));
            CHECK_OK(layerfi_set_log_callback(
                take_log, NULL, rounds % 100 < 50 ? LAYERFI_LOG_LEVEL_TRACE : LAYERFI_LOG_LEVEL_OFF,
                &error));
        }
        if (rounds % 50 == number + 10) {
            const char *ids[] = {BUSINESS, "00000000-0000-4000-8000-000000000001", BUSINESS};
            layerfi_business_tokens *tokens = NULL;
            CHECK_OK(layerfi_client_business_tokens(shared, ids, 3, 3600, LAYERFI_DEFAULT,
                                                    LAYERFI_DEFAULT, go_on, NULL, &tokens, &error));
            CHECK(layerfi_business_tokens_len(tokens) == 3);
            layerfi_business_tokens_free(tokens);
            layerfi_whoami *whoami = NULL;
            CHECK_OK(layerfi_client_whoami(shared, LAYERFI_DEFAULT, &whoami, &error));
            layerfi_whoami_free(whoami);
        }
        layerfi_business_token_free(business);
        layerfi_token_free(token);
    }
    return NULL;
}

static void everything_at_once(void) {
    post("/settings", "{\"rate_limit\":null}");
    layerfi_client *client = new_client();
    shared = client;
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    unsigned numbers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        numbers[i] = i;
    }
    start(threads, THREADS, hammer, numbers, sizeof *numbers);
    sleep_ms(1000);
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    join(threads, THREADS);
    CHECK_OK(layerfi_set_log_callback(NULL, NULL, 0, &error));
    layerfi_client_free(client);
}

int main(void) {
    b02_cold_herd_makes_one_request(get_one);
    b02_cold_herd_makes_one_request(prepare_and_get_one);
    b03_failing_herd_gets_one_error();
    everything_at_once();
    puts("ok");
    return 0;
}
