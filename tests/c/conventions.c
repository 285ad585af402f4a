/* The conventions of the header: how every function treats its arguments. */
#include "check.h"

/* The value of out parameters that must not be written. */
#define UNTOUCHED ((void *)0x5eed)

static void versions(void) {
    CHECK(layerfi_abi_version() == LAYERFI_ABI_VERSION);
    CHECK(layerfi_abi_revision() == LAYERFI_ABI_REVISION);
    CHECK(is(layerfi_version(), LAYERFI_VERSION));
    CHECK(is(layerfi_result_name(LAYERFI_RESULT_OK), "ok"));
    CHECK(is(layerfi_result_name(LAYERFI_RESULT_RATE_LIMITED), "rate_limited"));
    CHECK(is(layerfi_result_name(LAYERFI_RESULT_PANIC), "panic"));
    CHECK(layerfi_result_name(99).len == 0 && layerfi_result_name(UINT32_MAX).len == 0);
}

/* Every function with a NULL that is not allowed. */
static void nulls(layerfi_client_builder *builder, const layerfi_client *client) {
    layerfi_client_builder *new_builder = UNTOUCHED;
    layerfi_client *new_client = UNTOUCHED;
    layerfi_token *token = UNTOUCHED;
    layerfi_business_token *business_token = UNTOUCHED;
    layerfi_business_tokens *business_tokens = UNTOUCHED;
    layerfi_whoami *whoami = UNTOUCHED;
    layerfi_response *response = UNTOUCHED;
    layerfi_json *json = UNTOUCHED;
    layerfi_stats stats;
    char buffer[16];
    size_t length = 77;
    const uint64_t hour = LAYERFI_DEFAULT;
    const uint64_t half = LAYERFI_DEFAULT;
    const char *ids[] = {BUSINESS, NULL};
    const layerfi_header header = {"x-a", NULL};
#define NULLS(call) CHECK_RESULT(LAYERFI_RESULT_NULL_POINTER, call)
    NULLS(layerfi_client_builder_new(NULL, &error));
    NULLS(layerfi_client_builder_from_env(NULL, &error));
    NULLS(layerfi_client_from_env(NULL, &error));
    NULLS(layerfi_client_builder_set_environment(NULL, LAYERFI_ENVIRONMENT_SANDBOX, &error));
    NULLS(layerfi_client_builder_set_basic_encoding(NULL, LAYERFI_BASIC_ENCODING_RAW, &error));
    NULLS(layerfi_client_builder_set_trust(NULL, LAYERFI_TRUST_BUNDLED, &error));
    NULLS(layerfi_client_builder_set_no_proxy(NULL, &error));
    NULLS(layerfi_client_builder_set_allow_http_loopback(NULL, true, &error));
    NULLS(layerfi_client_builder_set_allow_opaque_business_ids(NULL, true, &error));
    NULLS(layerfi_client_builder_set_timeout_ms(NULL, 1, &error));
    NULLS(layerfi_client_builder_set_connect_timeout_ms(NULL, 1, &error));
    NULLS(layerfi_client_builder_set_attempt_timeout_ms(NULL, 1, &error));
    NULLS(layerfi_client_builder_set_max_attempts(NULL, 1, &error));
    NULLS(layerfi_client_builder_set_business_token_capacity(NULL, 1, &error));
    NULLS(layerfi_client_builder_set_keep_warm(NULL, true, &error));
    NULLS(layerfi_client_builder_set_shared_business_tokens(NULL, true, &error));
    NULLS(layerfi_client_builder_set_credentials_callback(builder, NULL, NULL, NULL, &error));
    typedef layerfi_result (*setter)(layerfi_client_builder *, const char *, layerfi_error **);
    static const struct {
        const char *setting;
        setter set;
    } texts[] = {
        {"environment", layerfi_client_builder_set_environment_name},
        {"client_id", layerfi_client_builder_set_client_id},
        {"client_secret", layerfi_client_builder_set_client_secret},
        {"client_secret_file", layerfi_client_builder_set_client_secret_file},
        {"api_url", layerfi_client_builder_set_api_url},
        {"auth_url", layerfi_client_builder_set_auth_url},
        {"scope", layerfi_client_builder_set_scope},
        {"ca_file", layerfi_client_builder_set_ca_file},
        {"ca_pem", layerfi_client_builder_set_ca_pem},
        {"proxy", layerfi_client_builder_set_proxy},
        {"user_agent", layerfi_client_builder_set_user_agent},
        {"shared_cache", layerfi_client_builder_set_shared_cache},
        {"shared_cache_key", layerfi_client_builder_set_shared_cache_key},
        {"shared_cache_prefix", layerfi_client_builder_set_shared_cache_prefix},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        NULLS(texts[i].set(NULL, "a", &error));
        NULLS(texts[i].set(builder, NULL, &error));
        CHECK_RESULT(LAYERFI_RESULT_INVALID_UTF8, texts[i].set(builder, "a\xff", &error));
        CHECK_RESULT(LAYERFI_RESULT_INVALID_UTF8, texts[i].set(builder, "\xc3", &error));
        /* The error names the setting, because build() returns it later. */
        layerfi_error *error = NULL;
        texts[i].set(builder, NULL, &error);
        CHECK(is(layerfi_error_field(error), texts[i].setting));
        layerfi_error_free(error);
    }
    NULLS(layerfi_client_builder_build(NULL, &new_client, &error));
    NULLS(layerfi_client_builder_build(builder, NULL, &error));
    NULLS(layerfi_client_prepare(NULL, &error));
    NULLS(layerfi_client_token(NULL, LAYERFI_DEFAULT, &token, &error));
    NULLS(layerfi_client_token(client, LAYERFI_DEFAULT, NULL, &error));
    NULLS(layerfi_client_renew_token(NULL, NULL, LAYERFI_DEFAULT, &token, &error));
    NULLS(layerfi_client_renew_token(client, NULL, LAYERFI_DEFAULT, &token, &error));
    NULLS(layerfi_client_try_token(NULL, &token, &error));
    NULLS(layerfi_client_try_token(client, NULL, &error));
    NULLS(layerfi_client_copy_authorization(NULL, LAYERFI_DEFAULT, buffer, sizeof buffer, &length,
                                            &error));
    NULLS(layerfi_client_try_copy_authorization(NULL, buffer, sizeof buffer, &length, &error));
    NULLS(layerfi_client_whoami(NULL, LAYERFI_DEFAULT, &whoami, &error));
    NULLS(layerfi_client_whoami(client, LAYERFI_DEFAULT, NULL, &error));
    NULLS(layerfi_client_business_token(NULL, BUSINESS, hour, half, LAYERFI_DEFAULT,
                                        &business_token, &error));
    NULLS(layerfi_client_business_token(client, NULL, hour, half, LAYERFI_DEFAULT, &business_token,
                                        &error));
    NULLS(
        layerfi_client_business_token(client, BUSINESS, hour, half, LAYERFI_DEFAULT, NULL, &error));
    NULLS(layerfi_client_renew_business_token(NULL, BUSINESS, hour, "x", LAYERFI_DEFAULT,
                                              &business_token, &error));
    NULLS(layerfi_client_renew_business_token(client, NULL, hour, "x", LAYERFI_DEFAULT,
                                              &business_token, &error));
    NULLS(layerfi_client_renew_business_token(client, BUSINESS, hour, NULL, LAYERFI_DEFAULT,
                                              &business_token, &error));
    NULLS(layerfi_client_try_business_token(NULL, BUSINESS, hour, LAYERFI_DEFAULT, &business_token,
                                            &error));
    NULLS(layerfi_client_try_business_token(client, NULL, hour, LAYERFI_DEFAULT, &business_token,
                                            &error));
    NULLS(layerfi_client_try_business_token(client, BUSINESS, hour, LAYERFI_DEFAULT, NULL, &error));
    NULLS(layerfi_client_mint_business_token(NULL, BUSINESS, hour, LAYERFI_DEFAULT, &business_token,
                                             &error));
    NULLS(layerfi_client_mint_business_token(client, NULL, hour, LAYERFI_DEFAULT, &business_token,
                                             &error));
    NULLS(
        layerfi_client_mint_business_token(client, BUSINESS, hour, LAYERFI_DEFAULT, NULL, &error));
    NULLS(layerfi_client_business_tokens(NULL, ids, 1, hour, LAYERFI_DEFAULT, LAYERFI_DEFAULT, NULL,
                                         NULL, &business_tokens, &error));
    NULLS(layerfi_client_business_tokens(client, NULL, 1, hour, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                         NULL, NULL, &business_tokens, &error));
    NULLS(layerfi_client_business_tokens(client, ids, 2, hour, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                         NULL, NULL, &business_tokens, &error));
    NULLS(layerfi_client_business_tokens(client, ids, 1, hour, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                         NULL, NULL, NULL, &error));
    NULLS(layerfi_business_tokens_get(NULL, 0, &business_token, &error));
    NULLS(layerfi_business_token_json(NULL, &json, &error));
    NULLS(layerfi_business_token_session_json(NULL, &json, &error));
    NULLS(layerfi_business_token_layer_provider_props_json(NULL, NULL, &json, &error));
    NULLS(layerfi_client_invalidate(NULL, NULL, NULL, &error));
    NULLS(layerfi_client_invalidate(client, NULL, NULL, &error));
    NULLS(layerfi_client_invalidate_authorization(NULL, "a", NULL, &error));
    NULLS(layerfi_client_invalidate_authorization(client, NULL, NULL, &error));
    NULLS(layerfi_client_invalidate_business_token(NULL, NULL, NULL, &error));
    NULLS(layerfi_client_invalidate_business_token(client, NULL, NULL, &error));
    NULLS(layerfi_client_stats(NULL, &stats, sizeof stats, &error));
    NULLS(layerfi_client_stats(client, NULL, sizeof stats, &error));
    NULLS(layerfi_client_execute(NULL, "GET", "/", NULL, 0, NULL, 0, LAYERFI_DEFAULT, &response,
                                 &error));
    NULLS(layerfi_client_execute(client, NULL, "/", NULL, 0, NULL, 0, LAYERFI_DEFAULT, &response,
                                 &error));
    NULLS(layerfi_client_execute(client, "GET", NULL, NULL, 0, NULL, 0, LAYERFI_DEFAULT, &response,
                                 &error));
    NULLS(layerfi_client_execute(client, "GET", "/", NULL, 1, NULL, 0, LAYERFI_DEFAULT, &response,
                                 &error));
    NULLS(layerfi_client_execute(client, "GET", "/", NULL, 0, NULL, 1, LAYERFI_DEFAULT, &response,
                                 &error));
    NULLS(layerfi_client_execute(client, "GET", "/", &header, 1, NULL, 0, LAYERFI_DEFAULT,
                                 &response, &error));
    NULLS(layerfi_client_execute(client, "GET", "/", NULL, 0, NULL, 0, LAYERFI_DEFAULT, NULL,
                                 &error));
    NULLS(layerfi_credentials_set(NULL, "a", "b", &error));
    NULLS(layerfi_credentials_set_error(NULL, "a", &error));
    /* No out parameter was written, and no request was sent. */
    CHECK(new_builder == UNTOUCHED && new_client == UNTOUCHED && token == UNTOUCHED);
    CHECK(business_token == UNTOUCHED && business_tokens == UNTOUCHED);
    CHECK(whoami == UNTOUCHED && response == UNTOUCHED && json == UNTOUCHED && length == 77);
    CHECK(requests("token") == 0);
    /* Without an error parameter as well. */
    CHECK(layerfi_client_token(NULL, LAYERFI_DEFAULT, &token, NULL) == LAYERFI_RESULT_NULL_POINTER);
    /* The error names the argument. */
    layerfi_error *error = NULL;
    CHECK(layerfi_client_token(NULL, LAYERFI_DEFAULT, &token, &error) ==
          LAYERFI_RESULT_NULL_POINTER);
    CHECK(is(layerfi_error_field(error), "client"));
    CHECK(is(layerfi_error_message(error), "client is NULL"));
    CHECK(layerfi_error_remedy(error).len > 0 && layerfi_error_display(error).len > 0);
    CHECK(layerfi_error_http_status(error) == 0 && layerfi_error_retry_after_ms(error) == -1);
    CHECK(!layerfi_error_is_retryable(error) && layerfi_error_request_id(error).len == 0);
    CHECK(layerfi_error_attempts(error) == 0);
    layerfi_error_free(error);
}

/* Accessors return an empty value for NULL, and `data` is never NULL. */
static void nulls_of_accessors(void) {
    const layerfi_str views[] = {
        layerfi_error_display(NULL),
        layerfi_error_message(NULL),
        layerfi_error_remedy(NULL),
        layerfi_error_field(NULL),
        layerfi_error_request_id(NULL),
        layerfi_error_oauth_error(NULL),
        layerfi_error_error_enum(NULL),
        layerfi_token_secret(NULL),
        layerfi_token_authorization(NULL),
        layerfi_business_token_secret(NULL),
        layerfi_business_token_authorization(NULL),
        layerfi_business_token_business_id(NULL),
        layerfi_whoami_client_name(NULL),
        layerfi_whoami_client_id(NULL),
        layerfi_client_api_url(NULL),
        layerfi_client_auth_url(NULL),
        layerfi_client_scope(NULL),
        layerfi_response_body(NULL),
        layerfi_response_header(NULL, "a"),
        layerfi_json_text(NULL),
    };
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        CHECK(is(views[i], ""));
    }
    CHECK(layerfi_error_result(NULL) == LAYERFI_RESULT_OK);
    CHECK(layerfi_error_http_status(NULL) == 0 && layerfi_error_retry_after_ms(NULL) == -1);
    CHECK(!layerfi_error_is_retryable(NULL) && layerfi_error_attempts(NULL) == 0);
    CHECK(layerfi_token_expires_in_s(NULL) == 0 && layerfi_token_remaining_ms(NULL) == 0);
    CHECK(layerfi_business_token_remaining_ms(NULL) == 0);
    CHECK(layerfi_token_expires_at_ms(NULL) == 0);
    CHECK(layerfi_business_token_expires_at_ms(NULL) == 0);
    CHECK(layerfi_business_token_expires_in_s(NULL) == 0);
    CHECK(layerfi_business_token_session_duration_s(NULL) == 0);
    CHECK(layerfi_business_tokens_len(NULL) == 0);
    CHECK(layerfi_client_environment(NULL) == 0);
    CHECK(layerfi_response_status(NULL) == 0);
    layerfi_error_free(NULL);
    layerfi_client_builder_free(NULL);
    layerfi_client_free(NULL);
    layerfi_token_free(NULL);
    layerfi_business_token_free(NULL);
    layerfi_business_tokens_free(NULL);
    layerfi_whoami_free(NULL);
    layerfi_response_free(NULL);
    layerfi_json_free(NULL);
}

static void bad_values(layerfi_client_builder *builder, const layerfi_client *client) {
    const uint32_t unknown[] = {0, 5, 77, 99, UINT32_MAX};
    for (size_t i = 0; i < 5; i++) {
        CHECK_RESULT(LAYERFI_RESULT_INVALID_ENUM,
                     layerfi_client_builder_set_environment(builder, unknown[i], &error));
        CHECK_RESULT(LAYERFI_RESULT_INVALID_ENUM,
                     layerfi_client_builder_set_basic_encoding(builder, unknown[i], &error));
        CHECK_RESULT(LAYERFI_RESULT_INVALID_ENUM,
                     layerfi_client_builder_set_trust(builder, unknown[i], &error));
    }
    layerfi_client_builder *settings = NULL;
    layerfi_client *untrusting = UNTOUCHED;
    CHECK_OK(layerfi_client_builder_new(&settings, &error));
    CHECK_OK(layerfi_client_builder_set_environment(settings, LAYERFI_ENVIRONMENT_SANDBOX, &error));
    CHECK_OK(layerfi_client_builder_set_client_id(settings, "a", &error));
    CHECK_OK(layerfi_client_builder_set_client_secret(settings, "b", &error));
    CHECK_OK(layerfi_client_builder_set_trust(settings, LAYERFI_TRUST_CA_ONLY, &error));
    CHECK_RESULT(LAYERFI_RESULT_CONFIG,
                 layerfi_client_builder_build(settings, &untrusting, &error));
    CHECK_OK(layerfi_client_builder_set_trust(settings, LAYERFI_TRUST_BUNDLED, &error));
    CHECK_OK(layerfi_client_builder_build(settings, &untrusting, &error));
    layerfi_client_free(untrusting);
    untrusting = UNTOUCHED;
    const struct {
        const char *url, *key, *prefix;
    } shared[] = {
        {"http://cache", "a", "a"},
        {"redis://cache", "", "a"},
        {"redis://cache", "a", "a b"},
    };
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        CHECK_OK(layerfi_client_builder_set_shared_cache(settings, shared[i].url, &error));
        CHECK_OK(layerfi_client_builder_set_shared_cache_key(settings, shared[i].key, &error));
        CHECK_OK(
            layerfi_client_builder_set_shared_cache_prefix(settings, shared[i].prefix, &error));
        CHECK_RESULT(LAYERFI_RESULT_CONFIG,
                     layerfi_client_builder_build(settings, &untrusting, &error));
    }
    CHECK_OK(layerfi_client_builder_set_shared_cache_prefix(settings, "a", &error));
    CHECK_OK(layerfi_client_builder_set_shared_business_tokens(settings, false, &error));
    CHECK_OK(layerfi_client_builder_build(settings, &untrusting, &error));
    layerfi_client_free(untrusting);
    layerfi_client_builder_free(settings);
    CHECK_RESULT(LAYERFI_RESULT_INVALID_ENUM, layerfi_set_log_callback(NULL, NULL, 6, &error));
    CHECK_RESULT(LAYERFI_RESULT_INVALID_ENUM, layerfi_set_log_callback(NULL, NULL, 99, &error));
    CHECK_RESULT(LAYERFI_RESULT_INVALID_UTF8,
                 layerfi_client_invalidate_authorization(client, "\xff", NULL, &error));
    CHECK_RESULT(LAYERFI_RESULT_CONFIG,
                 layerfi_client_builder_set_environment_name(builder, "prod", &error));
    layerfi_business_token *token = UNTOUCHED;
    layerfi_response *response = UNTOUCHED;
    const char *const ids[] = {
        "", "x", "../" BUSINESS, BUSINESS "/", "3fa85f64-5717-4562-b3fc-2c963f66afa6\n", "..",
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        CHECK_RESULT(LAYERFI_RESULT_INVALID_ARGUMENT,
                     layerfi_client_mint_business_token(client, ids[i], 3600, LAYERFI_DEFAULT,
                                                        &token, &error));
    }
    const uint64_t durations[] = {0, 86401, UINT64_MAX - 1};
    for (size_t i = 0; i < 3; i++) {
        CHECK_RESULT(LAYERFI_RESULT_INVALID_ARGUMENT,
                     layerfi_client_mint_business_token(client, BUSINESS, durations[i],
                                                        LAYERFI_DEFAULT, &token, &error));
    }
    CHECK_RESULT(
        LAYERFI_RESULT_INVALID_UTF8,
        layerfi_client_mint_business_token(client, "\xff", 3600, LAYERFI_DEFAULT, &token, &error));
    CHECK_RESULT(LAYERFI_RESULT_INVALID_ARGUMENT,
                 layerfi_client_execute(client, "G T", "/", NULL, 0, NULL, 0, LAYERFI_DEFAULT,
                                        &response, &error));
    CHECK_RESULT(LAYERFI_RESULT_INVALID_ARGUMENT,
                 layerfi_client_execute(client, "GET", "/ \n", NULL, 0, NULL, 0, LAYERFI_DEFAULT,
                                        &response, &error));
    CHECK_RESULT(LAYERFI_RESULT_INVALID_ARGUMENT,
                 layerfi_client_execute(client, "GET", "https://layer.example/x", NULL, 0, NULL, 0,
                                        LAYERFI_DEFAULT, &response, &error));
    const char *not_utf8[] = {"\xff"};
    layerfi_business_tokens *tokens = UNTOUCHED;
    CHECK_RESULT(LAYERFI_RESULT_INVALID_UTF8,
                 layerfi_client_business_tokens(client, not_utf8, 1, LAYERFI_DEFAULT,
                                                LAYERFI_DEFAULT, LAYERFI_DEFAULT, NULL, NULL,
                                                &tokens, &error));
    const layerfi_header bad_header = {"x-a", "\xff"};
    const struct {
        const char *method, *uri;
        const layerfi_header *header;
    } calls[] = {{"\xff", "/", NULL}, {"GET", "/\xff", NULL}, {"GET", "/", &bad_header}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        CHECK_RESULT(LAYERFI_RESULT_INVALID_UTF8,
                     layerfi_client_execute(client, calls[i].method, calls[i].uri, calls[i].header,
                                            calls[i].header != NULL, NULL, 0, LAYERFI_DEFAULT,
                                            &response, &error));
    }
    CHECK(tokens == UNTOUCHED);
    const layerfi_header split = {"x-a", "b\r\nx-c: d"};
    CHECK_RESULT(LAYERFI_RESULT_INVALID_ARGUMENT,
                 layerfi_client_execute(client, "GET", "/", &split, 1, NULL, 0, LAYERFI_DEFAULT,
                                        &response, &error));
    CHECK(token == UNTOUCHED && response == UNTOUCHED);
    CHECK(requests("token") == 0);
}

/* A program that ignores the error of a setter gets no client: otherwise it would send
 * its secret to the default URL. */
static void failed_setters(void) {
    for (int setter = 0; setter < 5; setter++) {
        layerfi_client_builder *builder = new_builder();
        layerfi_client *client = UNTOUCHED;
        layerfi_result expected = LAYERFI_RESULT_INVALID_UTF8;
        switch (setter) {
        case 0:
            layerfi_client_builder_set_auth_url(builder, "http://127.0.0.1/\xff", NULL);
            break;
        case 1:
            expected = LAYERFI_RESULT_NULL_POINTER;
            layerfi_client_builder_set_auth_url(builder, NULL, NULL);
            break;
        case 2:
            expected = LAYERFI_RESULT_INVALID_ENUM;
            layerfi_client_builder_set_environment(builder, 99, NULL);
            break;
        case 3:
            expected = LAYERFI_RESULT_CONFIG;
            layerfi_client_builder_set_environment_name(builder, "prod", NULL);
            break;
        default:
            expected = LAYERFI_RESULT_NULL_POINTER;
            layerfi_client_builder_set_credentials_callback(builder, NULL, NULL, NULL, NULL);
        }
        /* A later success does not hide it, and the first failure counts. */
        CHECK_OK(layerfi_client_builder_set_scope(builder, "scope", &error));
        layerfi_client_builder_set_api_url(builder, "\xff", NULL);
        CHECK_RESULT(expected, layerfi_client_builder_build(builder, &client, &error));
        CHECK(client == UNTOUCHED);
        layerfi_client_builder_free(builder);
    }
}

/* Numbers that are not valid for a setting, and the field that the error names. */
static void bad_settings(void) {
    typedef layerfi_result (*set_ms)(layerfi_client_builder *, uint64_t, layerfi_error **);
    static const struct {
        const char *field;
        set_ms set;
    } times[] = {
        {"timeout", layerfi_client_builder_set_timeout_ms},
        {"connect_timeout", layerfi_client_builder_set_connect_timeout_ms},
        {"attempt_timeout", layerfi_client_builder_set_attempt_timeout_ms},
        {"max_attempts", NULL},
        {"business_token_capacity", NULL},
    };
    static const uint64_t bad[] = {0, UINT64_MAX, LAYERFI_DEFAULT};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        for (size_t j = 0; j < sizeof bad / sizeof *bad; j++) {
            layerfi_client_builder *builder = new_builder();
            if (times[i].set != NULL) {
                times[i].set(builder, bad[j], NULL);
            } else if (strcmp(times[i].field, "max_attempts") == 0) {
                layerfi_client_builder_set_max_attempts(builder, (uint32_t)bad[j], NULL);
            } else {
                layerfi_client_builder_set_business_token_capacity(builder, (size_t)bad[j], NULL);
            }
            layerfi_client *client = UNTOUCHED;
            layerfi_error *error = NULL;
            layerfi_result result = layerfi_client_builder_build(builder, &client, &error);
            if (result == LAYERFI_RESULT_OK || client != UNTOUCHED ||
                !is(layerfi_error_field(error), times[i].field)) {
                fprintf(stderr, "%s of %" PRIu64 ": %s, expected an error of this setting\n",
                        times[i].field, bad[j], layerfi_error_display(error).data);
                _exit(1);
            }
            layerfi_error_free(error);
            layerfi_client_builder_free(builder);
        }
    }
}

/* LAYERFI_DEFAULT is the default of every number of every call, and 0 is not: a
 * deadline that has passed must not become the default. */
static void every_number_has_one_default(void) {
    layerfi_client *client = new_client();
    const uint64_t any = LAYERFI_DEFAULT;
    const char *ids[] = {BUSINESS};
    layerfi_token *token = NULL;
    layerfi_business_token *business_token = NULL;
    layerfi_business_tokens *tokens = NULL;
    layerfi_whoami *whoami = NULL;
    layerfi_response *response = NULL;
    char buffer[4096];
    CHECK_OK(layerfi_client_token(client, any, &token, &error));
    layerfi_token_free(token);
    CHECK_OK(layerfi_client_copy_authorization(client, any, buffer, sizeof buffer, NULL, &error));
    CHECK_OK(layerfi_client_whoami(client, any, &whoami, &error));
    layerfi_whoami_free(whoami);
    CHECK_OK(
        layerfi_client_business_token(client, BUSINESS, any, any, any, &business_token, &error));
    CHECK(layerfi_business_token_session_duration_s(business_token) == 3600);
    layerfi_business_token_free(business_token);
    CHECK_OK(
        layerfi_client_try_business_token(client, BUSINESS, any, any, &business_token, &error));
    layerfi_business_token_free(business_token);
    /* The same cached token: 0 seconds left are enough. */
    CHECK_OK(layerfi_client_try_business_token(client, BUSINESS, 3600, 0, &business_token, &error));
    layerfi_business_token_free(business_token);
    CHECK_OK(
        layerfi_client_mint_business_token(client, BUSINESS, any, any, &business_token, &error));
    CHECK(layerfi_business_token_session_duration_s(business_token) == 3600);
    layerfi_business_token_free(business_token);
    CHECK_OK(
        layerfi_client_business_tokens(client, ids, 1, any, any, any, NULL, NULL, &tokens, &error));
    layerfi_business_tokens_free(tokens);
    CHECK_OK(
        layerfi_client_execute(client, "GET", "/whoami", NULL, 0, NULL, 0, any, &response, &error));
    layerfi_response_free(response);

    /* With everything in the cache, so that no call would have to wait. */
    token = UNTOUCHED;
    business_token = UNTOUCHED;
    tokens = UNTOUCHED;
    whoami = UNTOUCHED;
    response = UNTOUCHED;
    long before = requests("token") + requests("whoami") + requests("auth_token");
#define REFUSED(call) CHECK_RESULT(LAYERFI_RESULT_INVALID_ARGUMENT, call)
    REFUSED(layerfi_client_token(client, 0, &token, &error));
    REFUSED(layerfi_client_copy_authorization(client, 0, buffer, sizeof buffer, NULL, &error));
    REFUSED(layerfi_client_whoami(client, 0, &whoami, &error));
    REFUSED(layerfi_client_business_token(client, BUSINESS, any, any, 0, &business_token, &error));
    REFUSED(layerfi_client_business_token(client, BUSINESS, 0, any, any, &business_token, &error));
    REFUSED(layerfi_client_try_business_token(client, BUSINESS, 0, any, &business_token, &error));
    REFUSED(layerfi_client_mint_business_token(client, BUSINESS, any, 0, &business_token, &error));
    REFUSED(layerfi_client_mint_business_token(client, BUSINESS, 0, any, &business_token, &error));
    REFUSED(
        layerfi_client_business_tokens(client, ids, 1, 0, any, any, NULL, NULL, &tokens, &error));
    REFUSED(
        layerfi_client_business_tokens(client, ids, 1, any, 0, any, NULL, NULL, &tokens, &error));
    REFUSED(
        layerfi_client_business_tokens(client, ids, 1, any, any, 0, NULL, NULL, &tokens, &error));
    REFUSED(
        layerfi_client_execute(client, "GET", "/whoami", NULL, 0, NULL, 0, 0, &response, &error));
    CHECK(token == UNTOUCHED && business_token == UNTOUCHED && tokens == UNTOUCHED);
    CHECK(whoami == UNTOUCHED && response == UNTOUCHED);
    CHECK(requests("token") + requests("whoami") + requests("auth_token") == before);
    layerfi_error *error = NULL;
    CHECK(layerfi_client_token(client, 0, &token, &error) == LAYERFI_RESULT_INVALID_ARGUMENT);
    CHECK(is(layerfi_error_field(error), "timeout_ms"));
    CHECK(strstr(layerfi_error_remedy(error).data, "LAYERFI_DEFAULT") != NULL);
    layerfi_error_free(error);
    layerfi_client_free(client);
}

/* Tokens outlive their clients, and one builder makes several clients. */
static void lifetimes(void) {
    layerfi_client_builder *builder = new_builder();
    layerfi_client *first = NULL, *second = NULL;
    CHECK_OK(layerfi_client_builder_build(builder, &first, &error));
    CHECK_OK(layerfi_client_builder_set_user_agent(builder, "again/1", &error));
    CHECK_OK(layerfi_client_builder_build(builder, &second, &error));
    layerfi_client_builder_free(builder);
    layerfi_token *one = NULL, *same = NULL, *other = NULL;
    CHECK_OK(layerfi_client_token(first, LAYERFI_DEFAULT, &one, &error));
    CHECK_OK(layerfi_client_token(first, LAYERFI_DEFAULT, &same, &error));
    CHECK_OK(layerfi_client_token(second, LAYERFI_DEFAULT, &other, &error));
    CHECK(strcmp(layerfi_token_secret(one).data, layerfi_token_secret(same).data) == 0);
    CHECK(strcmp(layerfi_token_secret(one).data, layerfi_token_secret(other).data) != 0);
    layerfi_token_free(same);
    layerfi_client_free(first);
    layerfi_client_free(second);
    layerfi_str secret = layerfi_token_secret(one), header = layerfi_token_authorization(one);
    CHECK(secret.len > 100 && strlen(secret.data) == secret.len);
    CHECK(header.len == secret.len + 7 && strlen(header.data) == header.len);
    CHECK(strncmp(header.data, "Bearer ", 7) == 0 && strcmp(header.data + 7, secret.data) == 0);
    int64_t left = layerfi_token_expires_at_ms(one) / 1000 - (int64_t)time(NULL);
    CHECK(left > 3500 && left <= 3600);
    layerfi_token_free(one);
    layerfi_token_free(other);
}

/* Only in a library with the feature `test-hooks`. */
layerfi_result layerfi_test_panic(const layerfi_client *client, layerfi_error **error);

static void panics(void) {
    layerfi_client *client = new_client();
    layerfi_token *token = NULL;
    for (int i = 0; i < 3; i++) {
        CHECK_RESULT(LAYERFI_RESULT_PANIC, layerfi_test_panic(client, &error));
        CHECK(layerfi_test_panic(client, NULL) == LAYERFI_RESULT_PANIC);
        CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
        layerfi_token_free(token);
    }
    layerfi_client_free(client);
}

int main(void) {
    versions();
    layerfi_client_builder *builder = NULL;
    CHECK_OK(layerfi_client_builder_from_env(&builder, &error));
    layerfi_client *client = new_client();
    nulls(builder, client);
    nulls_of_accessors();
    bad_values(builder, client);
    layerfi_client_free(client);
    layerfi_client_builder_free(builder);
    failed_setters();
    bad_settings();
    every_number_has_one_default();
    lifetimes();
    panics();
    puts("ok");
    return 0;
}
