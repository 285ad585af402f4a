/* Clients that share tokens. LAYER_SHARED_CACHE is the URL of a real server, whose password
 * is PASSWORD, and CLOSED_PORT a port to which nobody listens. */
#include "check.h"

#define MAX_LINES 64

/* The lines of the log, and whether one had a secret. */
static struct {
    pthread_mutex_t lock;
    char lines[MAX_LINES][512];
    uint32_t levels[MAX_LINES];
    int count;
    bool leaks;
} log_of = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool has_secret(const char *text) {
    return strstr(text, getenv("PASSWORD")) != NULL || strstr(text, "not-a-key") != NULL ||
           strstr(text, getenv("LAYER_CLIENT_SECRET")) != NULL;
}

static void take_log(void *userdata, uint32_t level, layerfi_str message) {
    (void)userdata;
    pthread_mutex_lock(&log_of.lock);
    log_of.leaks = log_of.leaks || has_secret(message.data);
    if (log_of.count < MAX_LINES) {
        log_of.levels[log_of.count] = level;
        snprintf(log_of.lines[log_of.count++], sizeof log_of.lines[0], "%s", message.data);
    }
    pthread_mutex_unlock(&log_of.lock);
}

/* Ends the program unless one line of that level has all three texts. */
static void check_logged(uint32_t level, const char *message, const char *one, const char *two) {
    bool found = false;
    pthread_mutex_lock(&log_of.lock);
    for (int i = 0; i < log_of.count; i++) {
        const char *line = log_of.lines[i];
        found = found || (log_of.levels[i] == level && strstr(line, message) != NULL &&
                          strstr(line, one) != NULL && strstr(line, two) != NULL);
    }
    if (!found) {
        fprintf(stderr, "not in the log: %s, %s, %s\n", message, one, two);
        for (int i = 0; i < log_of.count; i++) {
            fprintf(stderr, "%" PRIu32 ": %s\n", log_of.levels[i], log_of.lines[i]);
        }
        _exit(1);
    }
    pthread_mutex_unlock(&log_of.lock);
}

static layerfi_stats stats_of(const layerfi_client *client) {
    layerfi_stats stats;
    CHECK_OK(layerfi_client_stats(client, &stats, sizeof stats, &error));
    return stats;
}

static layerfi_client *client_with(const char *url, const char *key) {
    layerfi_client_builder *builder = new_builder();
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_set_shared_cache(builder, url, &error));
    CHECK_OK(layerfi_client_builder_set_shared_cache_key(builder, key, &error));
    CHECK_OK(layerfi_client_builder_set_shared_cache_prefix(builder, "tests-c", &error));
    CHECK_OK(layerfi_client_builder_set_shared_business_tokens(builder, false, &error));
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    return client;
}

static layerfi_token *token_of(const layerfi_client *client) {
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    return token;
}

static bool are_equal(const layerfi_token *one, const layerfi_token *other) {
    return is(layerfi_token_secret(one), layerfi_token_secret(other).data);
}

static void tokens_are_shared(void) {
    /* LAYER_SHARED_CACHE and no key. */
    layerfi_client *first = new_client();
    CHECK(stats_of(first).shared_cache == LAYERFI_SHARED_CACHE_STATE_UP);
    layerfi_token *token = token_of(first);
    CHECK(stats_of(first).shared_published == 1 && stats_of(first).shared_adopted == 0);
    check_logged(LAYERFI_LOG_LEVEL_DEBUG, "stored a token in the shared cache", "token=\"access\"",
                 "expires_in=3600");

    layerfi_client *second = new_client();
    layerfi_token *same = token_of(second);
    CHECK(are_equal(token, same));
    const layerfi_stats stats = stats_of(second);
    CHECK(stats.shared_adopted == 1 && stats.shared_published == 0 && stats.token_requests == 0);
    CHECK(stats.shared_alone == 0 && stats.shared_rejected == 0 && stats.shared_faults == 0);
    CHECK(requests("token") == 1);
    check_logged(LAYERFI_LOG_LEVEL_DEBUG, "got a token from the shared cache",
                 "age=", "expires_in=");

    /* With a key it is another token; its owner shares no business tokens. */
    layerfi_client *keyed = client_with(getenv("LAYER_SHARED_CACHE"), "not-a-key");
    layerfi_token *other = token_of(keyed);
    CHECK(!are_equal(token, other));
    layerfi_business_token *business = NULL;
    CHECK_OK(layerfi_client_business_token(keyed, BUSINESS, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                           LAYERFI_DEFAULT, &business, &error));
    CHECK(stats_of(keyed).shared_published == 1);
    CHECK(requests("token") == 2);

    layerfi_business_token_free(business);
    layerfi_token_free(token);
    layerfi_token_free(same);
    layerfi_token_free(other);
    layerfi_client_free(first);
    layerfi_client_free(second);
    layerfi_client_free(keyed);
}

static void store_that_is_down_fails_no_call(void) {
    char url[256], server[64];
    snprintf(server, sizeof server, "server=\"127.0.0.1:%s\"", getenv("CLOSED_PORT"));
    snprintf(url, sizeof url, "redis://:%s@127.0.0.1:%s", getenv("PASSWORD"),
             getenv("CLOSED_PORT"));
    layerfi_client *client = client_with(url, "not-a-key");
    layerfi_token_free(token_of(client));
    const layerfi_stats stats = stats_of(client);
    CHECK(stats.shared_cache == LAYERFI_SHARED_CACHE_STATE_DOWN);
    CHECK(stats.shared_alone == 1 && stats.shared_faults >= 1);
    check_logged(LAYERFI_LOG_LEVEL_WARN, "the shared cache is down", "kind=\"connect\"", server);
    layerfi_client_free(client);
}

/* The URL and the key are in no error. */
static void errors_show_no_secret(void) {
    const char *urls[] = {"http://:%s@host", "redis://:%s@host:port", "redis://:%s/x@host"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        char url[256];
        snprintf(url, sizeof url, urls[i], getenv("PASSWORD"));
        layerfi_client_builder *builder = new_builder();
        layerfi_client *client = NULL;
        layerfi_error *error = NULL;
        CHECK_OK(layerfi_client_builder_set_shared_cache(builder, url, &error));
        CHECK_OK(layerfi_client_builder_set_shared_cache_key(builder, "not-a-key", &error));
        CHECK(layerfi_client_builder_build(builder, &client, &error) == LAYERFI_RESULT_CONFIG);
        CHECK(is(layerfi_error_field(error), "shared_cache"));
        CHECK(!has_secret(layerfi_error_display(error).data));
        layerfi_error_free(error);
        layerfi_client_builder_free(builder);
    }
}

int main(void) {
    CHECK_OK(layerfi_set_log_callback(take_log, NULL, LAYERFI_LOG_LEVEL_TRACE, &error));
    tokens_are_shared();
    store_that_is_down_fails_no_call();
    errors_show_no_secret();
    CHECK_OK(layerfi_set_log_callback(NULL, NULL, LAYERFI_LOG_LEVEL_OFF, &error));
    CHECK(!log_of.leaks);
    return 0;
}
