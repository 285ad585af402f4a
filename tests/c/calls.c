/* The results of each call, and its callbacks. */
#include "check.h"

/* The value of out parameters that must not be written. */
#define UNTOUCHED ((void *)0x5eed)

static void b01_b11_cached_token_is_copied_and_invalidated_once(void) {
    layerfi_client *client = new_client();
    long before = requests("token");
    char buffer[4096];
    size_t length = 77;
    memset(buffer, 'x', sizeof buffer);
    /* The cache is empty: this call does not wait, and starts a request. */
    CHECK_RESULT(LAYERFI_RESULT_NOT_AVAILABLE, layerfi_client_try_copy_authorization(
                                                   client, buffer, sizeof buffer, &length, &error));
    CHECK(length == 77 && buffer[0] == 'x');
    CHECK_OK(layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, buffer, sizeof buffer,
                                               &length, &error));
    CHECK(strlen(buffer) == length && strncmp(buffer, "Bearer ", 7) == 0 &&
          buffer[length + 1] == 'x');
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    CHECK(is(layerfi_token_authorization(token), buffer));
    /* One byte too small, and empty: the length is set, and nothing is copied. */
    size_t needed = 0;
    char *exact = malloc(length + 1);
    exact[0] = 'x';
    CHECK_RESULT(
        LAYERFI_RESULT_BUFFER_TOO_SMALL,
        layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, exact, length, &needed, &error));
    CHECK(needed == length && exact[0] == 'x');
    CHECK_RESULT(
        LAYERFI_RESULT_BUFFER_TOO_SMALL,
        layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, NULL, 0, &needed, &error));
    CHECK_RESULT(LAYERFI_RESULT_BUFFER_TOO_SMALL,
                 layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, NULL, 0, NULL, &error));
    CHECK_RESULT(LAYERFI_RESULT_NULL_POINTER, layerfi_client_copy_authorization(
                                                  client, LAYERFI_DEFAULT, NULL, 10, NULL, &error));
    CHECK_OK(layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, exact, length + 1, NULL,
                                               &error));
    CHECK(strcmp(exact, buffer) == 0);
    CHECK_OK(layerfi_client_try_copy_authorization(client, exact, length + 1, NULL, &error));
    free(exact);
    CHECK(requests("token") == before + 1);
    /* A header value invalidates its token once. */
    bool invalidated = true;
    CHECK_OK(layerfi_client_invalidate_authorization(client, "Bearer x", &invalidated, &error));
    CHECK(!invalidated);
    CHECK_OK(layerfi_client_invalidate_authorization(client, buffer, &invalidated, &error));
    CHECK(invalidated);
    CHECK_OK(layerfi_client_invalidate_authorization(client, buffer, &invalidated, &error));
    CHECK(!invalidated);
    CHECK_OK(layerfi_client_invalidate(client, token, &invalidated, &error));
    CHECK(!invalidated);
    layerfi_token *fresh = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &fresh, &error));
    CHECK(!is(layerfi_token_authorization(fresh), buffer));
    CHECK_OK(layerfi_client_invalidate(client, fresh, &invalidated, &error));
    CHECK(invalidated);
    layerfi_token_free(fresh);
    layerfi_token_free(token);
    layerfi_client_free(client);
}

static bool same_token(const layerfi_token *one, const layerfi_token *other) {
    layerfi_str a = layerfi_token_secret(one), b = layerfi_token_secret(other);
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static void b11_refused_token_is_renewed(void) {
    layerfi_client *client = new_client();
    layerfi_token *refused = NULL, *fresh = NULL, *again = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &refused, &error));
    int before = requests("token");
    CHECK_OK(layerfi_client_renew_token(client, refused, LAYERFI_DEFAULT, &fresh, &error));
    CHECK(!same_token(refused, fresh));
    /* A call that was refused the old token late gets the new one, without a request. */
    CHECK_OK(layerfi_client_renew_token(client, refused, LAYERFI_DEFAULT, &again, &error));
    CHECK(same_token(fresh, again));
    CHECK(requests("token") == before + 1);
    layerfi_token_free(refused);
    layerfi_token_free(again);
    /* A server that refuses every token gets no more than five new ones in a row. */
    for (int round = 0; round < 10; round++) {
        CHECK_OK(layerfi_client_renew_token(client, fresh, LAYERFI_DEFAULT, &again, &error));
        layerfi_token_free(fresh);
        fresh = again;
    }
    CHECK(requests("token") == before + 5);
    layerfi_token_free(fresh);
    layerfi_client_free(client);
}

/* Polls until the result is final. The test runner has a time limit. */
static layerfi_result polled(const layerfi_client *client, layerfi_token **token,
                             layerfi_error **error) {
    layerfi_result result;
    while ((result = layerfi_client_try_token(client, token, NULL)) ==
           LAYERFI_RESULT_NOT_AVAILABLE) {
        sleep_ms(5);
    }
    return result == LAYERFI_RESULT_OK ? result : layerfi_client_try_token(client, token, error);
}

static void try_token_starts_a_request(void) {
    layerfi_client *client = new_client();
    /* The call does not wait: the response would take longer. */
    post("/faults", "{\"endpoint\":\"token\",\"delay_ms\":2000}");
    layerfi_token *token = NULL;
    double started = now_s();
    CHECK_RESULT(LAYERFI_RESULT_NOT_AVAILABLE, layerfi_client_try_token(client, &token, &error));
    CHECK(now_s() - started < 1.9 || is_slow());
    layerfi_error *error = NULL;
    CHECK(polled(client, &token, &error) == LAYERFI_RESULT_OK && error == NULL);
    layerfi_token_free(token);
    layerfi_client_free(client);
}

static layerfi_stats stats_of(const layerfi_client *client) {
    layerfi_stats stats;
    CHECK_OK(layerfi_client_stats(client, &stats, sizeof stats, &error));
    return stats;
}

static void b02_first_call_after_prepare_finds_a_token(void) {
    layerfi_client *client = new_client();
    long before = requests("token");
    CHECK_OK(layerfi_client_prepare(client, &error));
    while (stats_of(client).expires_at_ms < 0) {
        sleep_ms(1);
    }
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_try_token(client, &token, &error));
    layerfi_token_free(token);
    /* There is a token, so this does nothing. */
    CHECK_OK(layerfi_client_prepare(client, &error));
    layerfi_stats stats = stats_of(client);
    CHECK(stats.misses == 1 && stats.waits == 0 && stats.hits == 1);
    CHECK(requests("token") == before + 1);
    layerfi_client_free(client);
}

static void count_warnings(void *userdata, uint32_t level, layerfi_str message) {
    CHECK(level == LAYERFI_LOG_LEVEL_WARN);
    if (strstr(message.data, "prepare") != NULL) {
        CHECK(strstr(message.data, "invalid_client (HTTP 400)") != NULL);
        __atomic_add_fetch((int *)userdata, 1, __ATOMIC_SEQ_CST);
    }
}

static void b06_failed_prepare_is_logged_and_returned_by_the_next_call(void) {
    static int warnings;
    layerfi_client_builder *builder = new_builder();
    CHECK_OK(layerfi_client_builder_set_client_secret(builder, "wrong", &error));
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    CHECK_OK(layerfi_set_log_callback(count_warnings, &warnings, LAYERFI_LOG_LEVEL_WARN, &error));
    CHECK_OK(layerfi_client_prepare(client, &error));
    while (stats_of(client).failures[LAYERFI_RESULT_OAUTH] == 0) {
        sleep_ms(1);
    }
    CHECK(__atomic_load_n(&warnings, __ATOMIC_SEQ_CST) == 1);
    layerfi_token *token = NULL;
    CHECK_RESULT(LAYERFI_RESULT_OAUTH,
                 layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    CHECK_OK(layerfi_set_log_callback(NULL, NULL, LAYERFI_LOG_LEVEL_OFF, &error));
    layerfi_client_free(client);
}

/* try_token returns the failure of the last request, and a token once the secret in
 * the file is right. */
static void b06_try_token_returns_the_last_failure(bool from_file) {
    layerfi_client_builder *builder = new_builder();
    char path[] = "/tmp/layerfi-calls-XXXXXX";
    int file = -1;
    if (from_file) {
        file = mkstemp(path);
        CHECK(file >= 0 && write(file, "wrong", 5) == 5);
        CHECK_OK(layerfi_client_builder_set_client_secret_file(builder, path, &error));
    } else {
        CHECK_OK(layerfi_client_builder_set_client_secret(builder, "wrong", &error));
    }
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    layerfi_token *token = UNTOUCHED;
    layerfi_error *error = NULL;
    CHECK(polled(client, &token, &error) == LAYERFI_RESULT_OAUTH && token == UNTOUCHED);
    CHECK(is(layerfi_error_oauth_error(error), "invalid_client"));
    CHECK(!layerfi_error_is_retryable(error) && layerfi_error_remedy(error).len > 0);
    layerfi_error_free(error);
    char buffer[4096] = "x";
    size_t length = 77;
    CHECK_RESULT(LAYERFI_RESULT_OAUTH, layerfi_client_try_copy_authorization(
                                           client, buffer, sizeof buffer, &length, &error));
    CHECK(length == 77 && buffer[0] == 'x');
    if (from_file) {
        const char *secret = getenv("LAYER_CLIENT_SECRET");
        CHECK(pwrite(file, secret, strlen(secret), 0) == (ssize_t)strlen(secret));
        CHECK(close(file) == 0);
        while (layerfi_client_try_token(client, &token, NULL) != LAYERFI_RESULT_OK) {
            sleep_ms(5);
        }
        layerfi_token_free(token);
        CHECK(unlink(path) == 0);
    }
    layerfi_client_free(client);
}

static void try_business_token_starts_a_request(void) {
    layerfi_client *client = new_client();
    layerfi_business_token *token = UNTOUCHED;
    CHECK_RESULT(
        LAYERFI_RESULT_NOT_AVAILABLE,
        layerfi_client_try_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT, &token, &error));
    CHECK(token == UNTOUCHED);
    layerfi_result result;
    while ((result = layerfi_client_try_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT,
                                                       &token, NULL)) ==
           LAYERFI_RESULT_NOT_AVAILABLE) {
        sleep_ms(5);
    }
    CHECK(result == LAYERFI_RESULT_OK);
    CHECK(is(layerfi_business_token_business_id(token), BUSINESS));
    layerfi_business_token_free(token);
    layerfi_client_free(client);
}

static void businesses(void) {
    layerfi_client *client = new_client();
    const uint64_t hour = LAYERFI_DEFAULT;
    const uint64_t half = LAYERFI_DEFAULT;
    layerfi_business_token *none = UNTOUCHED, *first = NULL, *kept = NULL, *minted = NULL;
    CHECK_RESULT(
        LAYERFI_RESULT_NOT_AVAILABLE,
        layerfi_client_try_business_token(client, BUSINESS, hour, LAYERFI_DEFAULT, &none, &error));
    CHECK(none == UNTOUCHED);
    CHECK_OK(layerfi_client_business_token(client, BUSINESS, hour, half, LAYERFI_DEFAULT, &first,
                                           &error));
    CHECK_OK(
        layerfi_client_try_business_token(client, BUSINESS, hour, LAYERFI_DEFAULT, &kept, &error));
    CHECK(strcmp(layerfi_business_token_secret(first).data,
                 layerfi_business_token_secret(kept).data) == 0);
    CHECK_OK(layerfi_client_mint_business_token(client, BUSINESS, 900, LAYERFI_DEFAULT, &minted,
                                                &error));
    CHECK(is(layerfi_business_token_business_id(minted), BUSINESS));
    CHECK(layerfi_business_token_session_duration_s(minted) == 900);
    CHECK(layerfi_business_token_expires_in_s(minted) == 900);
    CHECK(strncmp(layerfi_business_token_authorization(minted).data, "Bearer ", 7) == 0);
    bool invalidated = false;
    CHECK_OK(layerfi_client_invalidate_business_token(client, kept, &invalidated, &error));
    CHECK(invalidated);
    CHECK_OK(layerfi_client_invalidate_business_token(client, kept, NULL, &error));
    layerfi_business_token_free(kept);
    CHECK_RESULT(
        LAYERFI_RESULT_NOT_AVAILABLE,
        layerfi_client_try_business_token(client, BUSINESS, hour, LAYERFI_DEFAULT, &kept, &error));
    layerfi_business_token_free(first);
    layerfi_client_free(client);
    CHECK(layerfi_business_token_expires_at_ms(minted) > 0);
    layerfi_business_token_free(minted);
}

/* Checks that JSON contains a text. */
static void check_contains(layerfi_str json, const char *format, const char *value) {
    char text[4096];
    CHECK(snprintf(text, sizeof text, format, value) < (int)sizeof text);
    CHECK(strlen(json.data) == json.len);
    /* Without the JSON, which contains a token. */
    if (strstr(json.data, text) == NULL) {
        fprintf(stderr, "the JSON does not contain %s with its value\n", format);
        _exit(1);
    }
}

static void b29_business_token_as_json(void) {
    layerfi_client *client = new_client();
    layerfi_business_token *token = NULL;
    CHECK_OK(
        layerfi_client_mint_business_token(client, BUSINESS, 900, LAYERFI_DEFAULT, &token, &error));
    const char *secret = layerfi_business_token_secret(token).data;
    layerfi_json *json = NULL;
    CHECK_OK(layerfi_business_token_json(token, &json, &error));
    layerfi_str text = layerfi_json_text(json);
    check_contains(text, "{\"access_token\":\"%s\",\"token_type\":\"Bearer\"", secret);
    check_contains(text, "\"business_id\":\"%s\"}", BUSINESS);
    /* What is left, not what the server gave. */
    const char *left = strstr(text.data, "\"expires_in\":");
    CHECK(left != NULL);
    long seconds = strtol(left + strlen("\"expires_in\":"), NULL, 10);
    CHECK(seconds <= 900);
    CHECK((uint64_t)seconds >= layerfi_business_token_remaining_ms(token) / 1000);
    time_t expires_at = (time_t)(layerfi_business_token_expires_at_ms(token) / 1000);
    struct tm utc;
    char date[64];
    CHECK(gmtime_r(&expires_at, &utc) != NULL);
    CHECK(strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc) > 0);
    check_contains(text, "\"expires_at\":\"%s\"", date);
    layerfi_json_free(json);

    CHECK_OK(layerfi_business_token_session_json(token, &json, &error));
    text = layerfi_json_text(json);
    check_contains(text, "{\"access_token\":\"%s\",\"token_type\":\"Bearer\"", secret);
    check_contains(text, "\"session_duration\":900,\"renew_in\":%s", "4");
    check_contains(text, "\"layer_provider_props\":{\"businessId\":\"%s\"", BUSINESS);
    layerfi_json_free(json);

    CHECK_OK(layerfi_business_token_layer_provider_props_json(token, NULL, &json, &error));
    text = layerfi_json_text(json);
    check_contains(text, "\"businessId\":\"%s\"", BUSINESS);
    check_contains(text, "\"businessAccessToken\":\"%s\"", secret);
    check_contains(text, "\"environmentConfigOverride\":{\"environment\":\"%s\"", "sandbox");
    check_contains(text, "\"apiUrl\":\"%s\"", layerfi_client_api_url(client).data);
    check_contains(text, "\"authUrl\":\"%s\"", layerfi_client_auth_url(client).data);
    check_contains(text, "\"scope\":\"%s\"", layerfi_client_scope(client).data);
    layerfi_json_free(json);
    CHECK_OK(layerfi_business_token_layer_provider_props_json(token, "a\"b", &json, &error));
    check_contains(layerfi_json_text(json), "\"environment\":\"%s\"", "a\\\"b");
    layerfi_json_free(json);
    json = UNTOUCHED;
    CHECK_RESULT(LAYERFI_RESULT_INVALID_UTF8,
                 layerfi_business_token_layer_provider_props_json(token, "\xff", &json, &error));
    CHECK_RESULT(LAYERFI_RESULT_NULL_POINTER, layerfi_business_token_json(token, NULL, &error));
    CHECK_RESULT(LAYERFI_RESULT_NULL_POINTER,
                 layerfi_business_token_session_json(token, NULL, &error));
    CHECK_RESULT(LAYERFI_RESULT_NULL_POINTER,
                 layerfi_business_token_layer_provider_props_json(token, NULL, NULL, &error));
    CHECK(json == UNTOUCHED);
    layerfi_business_token_free(token);

    /* A page that refuses a token at once would refuse another one too. */
    layerfi_business_token *first = NULL;
    CHECK_OK(layerfi_client_business_token(client, BUSINESS, 900, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                           &first, &error));
    const char *refused = layerfi_business_token_secret(first).data;
    CHECK_OK(layerfi_client_renew_business_token(client, BUSINESS, 900, refused, LAYERFI_DEFAULT,
                                                 &token, &error));
    CHECK(strcmp(layerfi_business_token_secret(token).data, refused) == 0);
    layerfi_business_token_free(token);
    layerfi_business_token_free(first);
    layerfi_client_free(client);
}

static void b11_business_token_is_invalidated_by_its_text(void) {
    layerfi_client *client = new_client();
    for (int with_scheme = 0; with_scheme < 2; with_scheme++) {
        layerfi_business_token *token = NULL, *fresh = NULL;
        CHECK_OK(layerfi_client_business_token(client, BUSINESS, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                               LAYERFI_DEFAULT, &token, &error));
        const char *text = with_scheme ? layerfi_business_token_authorization(token).data
                                       : layerfi_business_token_secret(token).data;
        bool invalidated = false;
        CHECK_OK(layerfi_client_invalidate_authorization(client, text, &invalidated, &error));
        CHECK(invalidated);
        CHECK_OK(layerfi_client_invalidate_authorization(client, text, &invalidated, &error));
        CHECK(!invalidated);
        CHECK_OK(layerfi_client_business_token(client, BUSINESS, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                               LAYERFI_DEFAULT, &fresh, &error));
        CHECK(!is(layerfi_business_token_authorization(fresh),
                  layerfi_business_token_authorization(token).data));
        layerfi_business_token_free(fresh);
        layerfi_business_token_free(token);
    }
    layerfi_client_free(client);
}

static void b09_token_shows_what_is_left_of_its_life(void) {
    layerfi_client *client = new_client();
    layerfi_token *token = NULL;
    layerfi_business_token *business_token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    CHECK(layerfi_token_expires_in_s(token) == 3600);
    uint64_t left = layerfi_token_remaining_ms(token);
    CHECK(left > 0 && left <= 3600 * 1000);
    while (layerfi_token_remaining_ms(token) >= left) {
        sleep_ms(1);
    }
    CHECK(layerfi_token_expires_in_s(token) == 3600);
    CHECK_OK(layerfi_client_mint_business_token(client, BUSINESS, 1, LAYERFI_DEFAULT,
                                                &business_token, &error));
    CHECK(layerfi_business_token_expires_in_s(business_token) == 1);
    CHECK(layerfi_business_token_remaining_ms(business_token) <= 1000);
    while (layerfi_business_token_remaining_ms(business_token) > 0) {
        sleep_ms(5);
    }
    layerfi_business_token_free(business_token);
    layerfi_token_free(token);
    layerfi_client_free(client);
}

static bool count_progress(void *userdata, const layerfi_batch_progress *so_far) {
    layerfi_batch_progress *last = userdata;
    CHECK(so_far->done >= last->done && so_far->done <= so_far->distinct);
    CHECK(so_far->distinct <= so_far->total);
    *last = *so_far;
    return true;
}

static bool stop_at_once(void *userdata, const layerfi_batch_progress *so_far) {
    (void)userdata;
    (void)so_far;
    return false;
}

static void b17_batches_keep_order_and_report_progress(void) {
    layerfi_client *client = new_client();
    const char *ids[] = {
        "00000000-0000-4000-8000-000000000001", "no-uuid", "00000000-0000-4000-8000-000000000002",
        "00000000-0000-4000-8000-000000000001", "no-uuid",
    };
    layerfi_batch_progress last = {0};
    layerfi_business_tokens *tokens = NULL;
    CHECK_OK(layerfi_client_business_tokens(client, ids, 5, 3600, 2, LAYERFI_DEFAULT,
                                            count_progress, &last, &tokens, &error));
    CHECK(layerfi_business_tokens_len(tokens) == 5);
    CHECK(last.total == 5 && last.distinct == 3 && last.done == 3 && last.failed == 1);
    layerfi_business_token *got[4] = {NULL, UNTOUCHED, NULL, NULL};
    for (size_t i = 0; i < 4; i++) {
        CHECK_RESULT(i == 1 ? LAYERFI_RESULT_INVALID_ARGUMENT : LAYERFI_RESULT_OK,
                     layerfi_business_tokens_get(tokens, i, &got[i], &error));
    }
    CHECK(got[1] == UNTOUCHED);
    CHECK_RESULT(LAYERFI_RESULT_INVALID_ARGUMENT,
                 layerfi_business_tokens_get(tokens, 5, &got[1], &error));
    layerfi_business_tokens_free(tokens);
    layerfi_client_free(client);
    CHECK(is(layerfi_business_token_business_id(got[0]), ids[0]));
    CHECK(is(layerfi_business_token_business_id(got[2]), ids[2]));
    CHECK(strcmp(layerfi_business_token_secret(got[0]).data,
                 layerfi_business_token_secret(got[3]).data) == 0);
    layerfi_business_token_free(got[0]);
    layerfi_business_token_free(got[2]);
    layerfi_business_token_free(got[3]);
    /* A batch of invalid ids, an empty batch, and a batch that its callback
     * ends. */
    client = new_client();
    const char *refused[] = {"no-uuid", "none either", "no-uuid"};
    memset(&last, 0, sizeof last);
    CHECK_OK(layerfi_client_business_tokens(client, refused, 3, 3600, LAYERFI_DEFAULT,
                                            LAYERFI_DEFAULT, count_progress, &last, &tokens,
                                            &error));
    CHECK(layerfi_business_tokens_len(tokens) == 3);
    CHECK(last.total == 3 && last.distinct == 2 && last.done == 2 && last.failed == 2);
    layerfi_business_tokens_free(tokens);
    CHECK_OK(layerfi_client_business_tokens(client, NULL, 0, 3600, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                            NULL, NULL, &tokens, &error));
    CHECK(layerfi_business_tokens_len(tokens) == 0);
    layerfi_business_tokens_free(tokens);
    CHECK_OK(layerfi_client_business_tokens(client, ids, 4, 3600, 1, LAYERFI_DEFAULT, stop_at_once,
                                            NULL, &tokens, &error));
    layerfi_business_token *token = NULL;
    CHECK_RESULT(LAYERFI_RESULT_TIMEOUT, layerfi_business_tokens_get(tokens, 3, &token, &error));
    layerfi_business_tokens_free(tokens);
    layerfi_client_free(client);
}

static void execute(void) {
    layerfi_client *client = new_client();
    layerfi_response *response = NULL;
    const layerfi_header headers[] = {{"Content-Type", "application/json"}, {"X-Test", "1"}};
    CHECK_OK(layerfi_client_execute(client, "GET", "/whoami", headers, 2, NULL, 0, LAYERFI_DEFAULT,
                                    &response, &error));
    CHECK(layerfi_response_status(response) == 200);
    CHECK(strstr(layerfi_response_body(response).data, "clientName") != NULL);
    CHECK(strstr(layerfi_response_header(response, "CONTENT-type").data, "json") != NULL);
    CHECK(layerfi_response_header(response, "x-none").len == 0);
    CHECK(layerfi_response_header(response, NULL).len == 0);
    layerfi_response_free(response);
    /* After 401 the request is sent again with a new token. */
    post("/revoke", "{\"all\":\"access\"}");
    const char *body = "{\"session_duration\":60}";
    CHECK_OK(layerfi_client_execute(client, "POST", "/v1/businesses/" BUSINESS "/auth-token",
                                    headers, 1, (const uint8_t *)body, strlen(body),
                                    LAYERFI_DEFAULT, &response, &error));
    CHECK(layerfi_response_status(response) == 200);
    layerfi_response_free(response);
    post("/faults", "{\"endpoint\":\"whoami\",\"status\":401,\"times\":2}");
    CHECK_OK(layerfi_client_execute(client, "GET", "/whoami", NULL, 0, NULL, 0, LAYERFI_DEFAULT,
                                    &response, &error));
    CHECK(layerfi_response_status(response) == 401);
    layerfi_response_free(response);
    CHECK_OK(layerfi_client_execute(client, "GET", "/no-such-place", NULL, 0, NULL, 0,
                                    LAYERFI_DEFAULT, &response, &error));
    CHECK(layerfi_response_status(response) == 404);
    layerfi_response_free(response);
    layerfi_client_free(client);
}

/* An error tells how often the request was sent, also after a timeout. */
static void b08_b14_error_has_its_attempts(void) {
    layerfi_client_builder *builder = new_builder();
    CHECK_OK(layerfi_client_builder_set_max_attempts(builder, 2, &error));
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    post("/faults", "{\"endpoint\":\"token\",\"status\":503,\"times\":\"forever\","
                    "\"body\":{},\"headers\":{\"x-request-id\":\"req-2\"}}");
    layerfi_token *token = UNTOUCHED;
    layerfi_error *error = NULL;
    layerfi_result result = layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error);
    CHECK(result != LAYERFI_RESULT_OK && token == UNTOUCHED);
    CHECK(layerfi_error_attempts(error) == 2 && layerfi_error_http_status(error) == 503);
    CHECK(layerfi_error_is_retryable(error) && is(layerfi_error_request_id(error), "req-2"));
    layerfi_error_free(error);
    layerfi_client_free(client);

    CHECK_OK(layerfi_client_builder_set_max_attempts(builder, 100, &error));
    uint64_t timeout_ms = 2000;
    for (bool sent = false; !sent; timeout_ms *= 2) {
        /* Again with a longer timeout if the machine was too slow for one attempt. */
        CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
        error = NULL;
        result = layerfi_client_token(client, timeout_ms, &token, &error);
        CHECK(result == LAYERFI_RESULT_TIMEOUT);
        sent = layerfi_error_attempts(error) > 0;
        if (sent) {
            CHECK(layerfi_error_http_status(error) == 503);
            CHECK(strstr(layerfi_error_message(error).data, "HTTP 503") != NULL);
        }
        layerfi_error_free(error);
        layerfi_client_free(client);
    }
    layerfi_client_builder_free(builder);
    control("DELETE", "/faults", "", NULL, 0);
}

/* A text with a NUL, of which C would see only a part, is not a response of Layer. */
static void b21_whoami_with_a_nul_is_refused(void) {
    static const char *const data[] = {
        "{\"clientName\":\"a\\u0000b\",\"clientId\":\"i\"}",
        "{\"clientName\":\"a\",\"clientId\":\"i\\u0000j\"}",
    };
    layerfi_client *client = new_client();
    for (size_t i = 0; i < 2; i++) {
        char fault[256];
        snprintf(fault, sizeof fault,
                 "{\"endpoint\":\"whoami\",\"status\":200,\"body\":{\"data\":%s}}", data[i]);
        post("/faults", fault);
        layerfi_whoami *whoami = UNTOUCHED;
        CHECK_RESULT(LAYERFI_RESULT_PROTOCOL,
                     layerfi_client_whoami(client, LAYERFI_DEFAULT, &whoami, &error));
        CHECK(whoami == UNTOUCHED);
    }
    layerfi_client_free(client);
}

static void failures(void) {
    layerfi_client *client = new_client();
    layerfi_whoami *whoami = NULL;
    CHECK_OK(layerfi_client_whoami(client, LAYERFI_DEFAULT, &whoami, &error));
    CHECK(layerfi_whoami_client_name(whoami).len > 0 && layerfi_whoami_client_id(whoami).len == 36);
    layerfi_whoami_free(whoami);
    post("/faults", "{\"endpoint\":\"auth_token\",\"status\":404,\"headers\":{\"x-request-id\":"
                    "\"req-1\"},\"body\":{\"errors\":[{\"type\":\"NotFound\",\"description\":"
                    "\"canary\",\"error_enum\":\"BUSINESS_NOT_FOUND\"}]}}");
    layerfi_business_token *token = UNTOUCHED;
    layerfi_error *error = NULL;
    CHECK(layerfi_client_mint_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT, &token,
                                             &error) == LAYERFI_RESULT_API);
    CHECK(token == UNTOUCHED && layerfi_error_http_status(error) == 404);
    CHECK(is(layerfi_error_error_enum(error), "BUSINESS_NOT_FOUND"));
    CHECK(strstr(layerfi_error_display(error).data, "canary") == NULL);
    CHECK(layerfi_error_result(error) == LAYERFI_RESULT_API);
    CHECK(layerfi_error_oauth_error(error).len == 0);
    layerfi_error_free(error);
    /* The call's own timeout ends it long before the response. */
    post("/faults", "{\"endpoint\":\"auth_token\",\"delay_ms\":60000}");
    double started = now_s();
    CHECK_RESULT(LAYERFI_RESULT_TIMEOUT,
                 layerfi_client_mint_business_token(client, BUSINESS, 3600, 200, &token, &error));
    CHECK(now_s() - started < 50 && token == UNTOUCHED);
    /* The longest timeout does not overflow. */
    layerfi_token *any = NULL;
    CHECK_OK(layerfi_client_token(client, UINT64_MAX - 1, &any, &error));
    layerfi_token_free(any);
    CHECK_OK(layerfi_client_whoami(client, UINT64_MAX - 1, &whoami, &error));
    layerfi_whoami_free(whoami);
    layerfi_client_free(client);
}

static void b24_stats_count_events(void) {
    layerfi_client *client = new_client();
    layerfi_stats stats;
    CHECK_OK(layerfi_client_stats(client, &stats, sizeof stats, &error));
    CHECK(stats.token_requests == 0 && stats.expires_at_ms == -1);
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    layerfi_token_free(token);
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    CHECK_OK(layerfi_client_stats(client, &stats, sizeof stats, &error));
    CHECK(stats.token_requests == 1 && stats.misses == 1 && stats.hits >= 1);
    CHECK(stats.expires_at_ms == layerfi_token_expires_at_ms(token));
    layerfi_token_free(token);
    post("/faults", "{\"endpoint\":\"auth_token\",\"status\":403}");
    layerfi_business_token *none = NULL;
    CHECK_RESULT(LAYERFI_RESULT_API,
                 layerfi_client_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT,
                                               LAYERFI_DEFAULT, &none, &error));
    CHECK_OK(layerfi_client_stats(client, &stats, sizeof stats, &error));
    CHECK(stats.failures[LAYERFI_RESULT_API] == 1 && stats.failures[LAYERFI_RESULT_OAUTH] == 0);
    /* A smaller struct is not overrun; the rest of a larger one is set to 0. */
    union {
        layerfi_stats stats;
        unsigned char bytes[sizeof(layerfi_stats) + 64];
    } larger;
    memset(&larger, 0xee, sizeof larger);
    CHECK_OK(layerfi_client_stats(client, &larger.stats, 16, &error));
    CHECK(larger.stats.hits == stats.hits && larger.bytes[16] == 0xee);
    CHECK_OK(layerfi_client_stats(client, &larger.stats, sizeof larger, &error));
    CHECK(larger.bytes[sizeof(layerfi_stats)] == 0 && larger.bytes[sizeof larger - 1] == 0);
    CHECK_RESULT(LAYERFI_RESULT_BUFFER_TOO_SMALL, layerfi_client_stats(client, &stats, 7, &error));
    CHECK(layerfi_client_environment(client) == LAYERFI_ENVIRONMENT_CUSTOM);
    CHECK(is(layerfi_client_api_url(client), getenv("LAYER_API_URL")));
    CHECK(is(layerfi_client_auth_url(client), getenv("LAYER_AUTH_URL")));
    CHECK(is(layerfi_client_scope(client), getenv("LAYER_SCOPE")));
    layerfi_client_free(client);
}

/* A vault, for the credentials callback. */
struct vault {
    int asked;
    int freed;
    bool sealed;
    bool is_careless;
    const layerfi_client *client;
};

static bool ask_vault(void *userdata, layerfi_credentials *credentials) {
    struct vault *vault = userdata;
    vault->asked++;
    if (vault->client != NULL) {
        /* This call would wait for the callback that makes it. */
        layerfi_token *token = UNTOUCHED;
        CHECK_RESULT(LAYERFI_RESULT_WOULD_DEADLOCK,
                     layerfi_client_token(vault->client, LAYERFI_DEFAULT, &token, &error));
        CHECK(token == UNTOUCHED);
    }
    if (vault->sealed) {
        CHECK_OK(layerfi_credentials_set_error(credentials, "the vault is sealed", &error));
        return false;
    }
    if (vault->is_careless) {
        /* Like a callback that ignores the results: it does not hide the failure. */
        CHECK_RESULT(LAYERFI_RESULT_INVALID_UTF8,
                     layerfi_credentials_set(credentials, "a", "\xff", &error));
        CHECK_RESULT(LAYERFI_RESULT_NULL_POINTER,
                     layerfi_credentials_set(credentials, NULL, "b", &error));
    }
    CHECK_OK(layerfi_credentials_set(credentials, getenv("LAYER_CLIENT_ID"),
                                     getenv("LAYER_CLIENT_SECRET"), &error));
    return true;
}

static void free_vault(void *userdata) {
    ((struct vault *)userdata)->freed++;
}

static void credentials(void) {
    struct vault vault = {0};
    layerfi_client_builder *builder = new_builder();
    CHECK_OK(layerfi_client_builder_set_credentials_callback(builder, ask_vault, &vault, free_vault,
                                                             &error));
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    CHECK(vault.asked == 0 && vault.freed == 0);
    vault.client = client;
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    CHECK(vault.asked == 1);
    CHECK_OK(layerfi_client_invalidate(client, token, NULL, &error));
    layerfi_token_free(token);
    vault.is_careless = true;
    layerfi_error *error = NULL;
    CHECK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error) ==
          LAYERFI_RESULT_CREDENTIALS);
    CHECK(strstr(layerfi_error_message(error).data, "client_secret is not valid UTF-8") != NULL);
    layerfi_error_free(error);
    layerfi_client_free(client);
    /* Another client, whose last failure is none. */
    vault.is_careless = false;
    vault.sealed = true;
    vault.client = NULL;
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    error = NULL;
    CHECK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error) ==
          LAYERFI_RESULT_CREDENTIALS);
    CHECK(strstr(layerfi_error_message(error).data, "the vault is sealed") != NULL);
    layerfi_error_free(error);
    layerfi_client_free(client);
    /* The last request may still use the vault for a moment. */
    while (__atomic_load_n(&vault.freed, __ATOMIC_SEQ_CST) == 0) {
        sleep_ms(1);
    }
    CHECK(vault.freed == 1);
}

struct log {
    int lines;
    int leaks;
};

static void take_log(void *userdata, uint32_t level, layerfi_str message) {
    struct log *log = userdata;
    CHECK(level >= LAYERFI_LOG_LEVEL_ERROR && level <= LAYERFI_LOG_LEVEL_TRACE);
    CHECK(strlen(message.data) == message.len && message.len > 0);
    __atomic_add_fetch(&log->lines, 1, __ATOMIC_SEQ_CST);
    if (strstr(message.data, getenv("LAYER_CLIENT_SECRET")) != NULL ||
        strstr(message.data, "eyJ") != NULL || strstr(message.data, "Bearer") != NULL) {
        __atomic_add_fetch(&log->leaks, 1, __ATOMIC_SEQ_CST);
    }
}

static void logs(void) {
    static struct log log;
    CHECK_OK(layerfi_set_log_callback(take_log, &log, LAYERFI_LOG_LEVEL_TRACE, &error));
    layerfi_client *client = new_client();
    post("/faults", "{\"endpoint\":\"token\",\"status\":503}");
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    layerfi_token_free(token);
    layerfi_client_free(client);
    int lines = __atomic_load_n(&log.lines, __ATOMIC_SEQ_CST);
    CHECK(lines > 0 && log.leaks == 0);
    CHECK_OK(layerfi_set_log_callback(take_log, &log, LAYERFI_LOG_LEVEL_OFF, &error));
    client = new_client();
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    layerfi_token_free(token);
    layerfi_client_free(client);
    CHECK(__atomic_load_n(&log.lines, __ATOMIC_SEQ_CST) == lines);
    CHECK_OK(layerfi_set_log_callback(NULL, NULL, LAYERFI_LOG_LEVEL_TRACE, &error));
}

/* Client that a log callback uses, and the header value that it invalidates. */
struct reentrant {
    layerfi_client *client;
    char header[4096];
    int calls;
    int invalidated;
};

static void call_the_client(void *userdata, uint32_t level, layerfi_str message) {
    struct reentrant *state = userdata;
    (void)level;
    if (strstr(message.data, "refresh failed") == NULL) {
        return;
    }
    CHECK_OK(layerfi_client_prepare(state->client, &error));
    layerfi_token *token = NULL;
    if (layerfi_client_try_token(state->client, &token, NULL) == LAYERFI_RESULT_OK) {
        layerfi_token_free(token);
    }
    bool invalidated = false;
    layerfi_client_invalidate_authorization(state->client, state->header, &invalidated, NULL);
    __atomic_add_fetch(&state->invalidated, invalidated, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&state->calls, 1, __ATOMIC_SEQ_CST);
}

static void b27_log_callback_may_call_the_client(void) {
    static struct reentrant state;
    state.client = new_client();
    CHECK_OK(layerfi_set_log_callback(call_the_client, &state, LAYERFI_LOG_LEVEL_WARN, &error));
    while (__atomic_load_n(&state.calls, __ATOMIC_SEQ_CST) == 0) {
        /* Again if the machine paused until the token had expired. */
        post("/reset", "{}");
        post("/settings", "{\"access_token_lifetime\":4}");
        while (layerfi_client_copy_authorization(state.client, LAYERFI_DEFAULT, state.header,
                                                 sizeof state.header, NULL,
                                                 NULL) != LAYERFI_RESULT_OK) {
            sleep_ms(50);
        }
        post("/faults", "{\"endpoint\":\"token\",\"status\":400,\"times\":\"forever\"}");
        char header[4096];
        while (layerfi_client_try_copy_authorization(state.client, header, sizeof header, NULL,
                                                     NULL) == LAYERFI_RESULT_OK) {
            sleep_ms(5);
        }
    }
    CHECK_OK(layerfi_set_log_callback(NULL, NULL, LAYERFI_LOG_LEVEL_OFF, &error));
    CHECK(state.invalidated >= 1);
    post("/reset", "{}");
    layerfi_client_free(state.client);
}

int main(void) {
    try_token_starts_a_request();
    b02_first_call_after_prepare_finds_a_token();
    b06_failed_prepare_is_logged_and_returned_by_the_next_call();
    b06_try_token_returns_the_last_failure(false);
    b06_try_token_returns_the_last_failure(true);
    try_business_token_starts_a_request();
    b01_b11_cached_token_is_copied_and_invalidated_once();
    b11_refused_token_is_renewed();
    businesses();
    b09_token_shows_what_is_left_of_its_life();
    b11_business_token_is_invalidated_by_its_text();
    b29_business_token_as_json();
    b08_b14_error_has_its_attempts();
    b21_whoami_with_a_nul_is_refused();
    b17_batches_keep_order_and_report_progress();
    execute();
    failures();
    b24_stats_count_events();
    credentials();
    logs();
    b27_log_callback_may_call_the_client();
    puts("ok");
    return 0;
}
