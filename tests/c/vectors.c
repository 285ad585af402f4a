/* Makes the calls of the shared table in C; see commands.h. */
#include "check.h"
#include "commands.h"

enum { MAX_KEYS = 64, MAX_WORDS = 8 };

static layerfi_client_builder *builder;
static layerfi_client *client;
static layerfi_error *setter_error;
static layerfi_token *tokens[MAX_KEYS];
static layerfi_business_token *business_tokens[MAX_KEYS];

static uint64_t number(const char *word, uint64_t otherwise) {
    return strcmp(word, "-") == 0 ? otherwise : strtoull(word, NULL, 10);
}

static void print_view(const char *name, layerfi_str view) {
    print_field(name, view.data, view.len);
}

static void print_number(const char *name, int64_t value) {
    printf("\t%s=%" PRId64, name, value);
}

static void end_line(void) {
    putchar('\n');
    fflush(stdout);
}

/* Prints all fields of an error. */
static void print_error(layerfi_error *error) {
    printf("error");
    print_view("kind", layerfi_result_name(layerfi_error_result(error)));
    print_view("display", layerfi_error_display(error));
    print_view("message", layerfi_error_message(error));
    print_view("remedy", layerfi_error_remedy(error));
    print_view("field", layerfi_error_field(error));
    print_view("oauth_error", layerfi_error_oauth_error(error));
    print_view("error_enum", layerfi_error_error_enum(error));
    print_view("request_id", layerfi_error_request_id(error));
    print_number("http_status", layerfi_error_http_status(error));
    print_number("retry_after_ms", layerfi_error_retry_after_ms(error));
    print_number("retryable", layerfi_error_is_retryable(error));
    end_line();
}

static bool flag(const char *value) {
    return strcmp(value, "true") == 0;
}

static layerfi_result set(const char *name, const char *value, layerfi_error **error) {
    static const struct {
        const char *name;
        layerfi_result (*set)(layerfi_client_builder *, const char *, layerfi_error **);
    } texts[] = {
        {"environment", layerfi_client_builder_set_environment_name},
        {"api_url", layerfi_client_builder_set_api_url},
        {"auth_url", layerfi_client_builder_set_auth_url},
        {"scope", layerfi_client_builder_set_scope},
        {"client_id", layerfi_client_builder_set_client_id},
        {"client_secret", layerfi_client_builder_set_client_secret},
        {"client_secret_file", layerfi_client_builder_set_client_secret_file},
        {"ca_file", layerfi_client_builder_set_ca_file},
        {"ca_pem", layerfi_client_builder_set_ca_pem},
        {"proxy", layerfi_client_builder_set_proxy},
        {"user_agent", layerfi_client_builder_set_user_agent},
        {"shared_cache", layerfi_client_builder_set_shared_cache},
        {"shared_cache_key", layerfi_client_builder_set_shared_cache_key},
        {"shared_cache_prefix", layerfi_client_builder_set_shared_cache_prefix},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(name, texts[i].name) == 0) {
            return texts[i].set(builder, value, error);
        }
    }
    if (strcmp(name, "no_proxy") == 0) {
        return layerfi_client_builder_set_no_proxy(builder, error);
    }
    if (strcmp(name, "basic_encoding") == 0) {
        return layerfi_client_builder_set_basic_encoding(
            builder,
            strcmp(value, "form") == 0 ? LAYERFI_BASIC_ENCODING_FORM : LAYERFI_BASIC_ENCODING_RAW,
            error);
    }
    if (strcmp(name, "trust") == 0) {
        return layerfi_client_builder_set_trust(
            builder,
            strcmp(value, "bundled") == 0   ? LAYERFI_TRUST_BUNDLED
            : strcmp(value, "ca_only") == 0 ? LAYERFI_TRUST_CA_ONLY
                                            : LAYERFI_TRUST_SYSTEM,
            error);
    }
    if (strcmp(name, "allow_http_loopback") == 0) {
        return layerfi_client_builder_set_allow_http_loopback(builder, flag(value), error);
    }
    if (strcmp(name, "allow_opaque_business_ids") == 0) {
        return layerfi_client_builder_set_allow_opaque_business_ids(builder, flag(value), error);
    }
    uint64_t amount = number(value, 0);
    if (strcmp(name, "timeout_ms") == 0) {
        return layerfi_client_builder_set_timeout_ms(builder, amount, error);
    }
    if (strcmp(name, "connect_timeout_ms") == 0) {
        return layerfi_client_builder_set_connect_timeout_ms(builder, amount, error);
    }
    if (strcmp(name, "attempt_timeout_ms") == 0) {
        return layerfi_client_builder_set_attempt_timeout_ms(builder, amount, error);
    }
    if (strcmp(name, "max_attempts") == 0) {
        return layerfi_client_builder_set_max_attempts(builder, (uint32_t)amount, error);
    }
    if (strcmp(name, "business_token_capacity") == 0) {
        return layerfi_client_builder_set_business_token_capacity(builder, amount, error);
    }
    fprintf(stderr, "%s is not a setting\n", name);
    exit(2);
}

/* The call of one caller. */
struct call {
    char **words;
    layerfi_result result;
    layerfi_error *error;
    layerfi_token *token;
    layerfi_business_token *business_token;
    layerfi_whoami *whoami;
    bool invalidated;
};

/* Prints a secret, allocates and waits, once, for the driver's test of its own
 * checks. */
static void misbehave(const layerfi_business_token *token) {
    static const size_t size = 40 << 20;
    static bool first = true;
    if (getenv("LAYERFI_TEST_MISBEHAVE") == NULL) {
        return;
    }
    if (first) {
        first = false;
        return;
    }
    fprintf(stderr, "printed: %s\n", layerfi_business_token_secret(token).data);
    volatile char *memory = malloc(size);
    for (size_t i = 0; i < size; i += 1024) {
        memory[i] = 1;
    }
    free((void *)memory);
    sleep_ms(7000);
}

static void *make_call(void *argument) {
    struct call *call = argument;
    char **words = call->words;
    layerfi_error **error = &call->error;
    const uint64_t hour = LAYERFI_DEFAULT;
    const uint64_t half = LAYERFI_DEFAULT;
    if (strcmp(words[0], "token") == 0) {
        call->result = layerfi_client_token(client, LAYERFI_DEFAULT, &call->token, error);
    } else if (strcmp(words[0], "whoami") == 0) {
        call->result = layerfi_client_whoami(client, LAYERFI_DEFAULT, &call->whoami, error);
    } else if (strcmp(words[0], "mint") == 0) {
        call->result =
            layerfi_client_mint_business_token(client, words[2], number(words[3], hour),
                                               LAYERFI_DEFAULT, &call->business_token, error);
        misbehave(call->business_token);
    } else if (strcmp(words[0], "business") == 0) {
        call->result = layerfi_client_business_token(client, words[2], number(words[3], hour),
                                                     number(words[4], half), LAYERFI_DEFAULT,
                                                     &call->business_token, error);
    } else if (strcmp(words[0], "invalidate") == 0) {
        const layerfi_token *token = tokens[number(words[2], 0)];
        call->result = layerfi_client_invalidate(client, token, &call->invalidated, error);
    } else {
        fprintf(stderr, "%s is not a command\n", words[0]);
        exit(2);
    }
    return NULL;
}

/* Prints the outcome of a call, and frees or keeps its result. */
static void print_outcome(struct call *call, size_t key) {
    if (call->result != LAYERFI_RESULT_OK) {
        CHECK(layerfi_error_result(call->error) == call->result);
        print_error(call->error);
        layerfi_error_free(call->error);
        return;
    }
    CHECK(call->error == NULL);
    printf("ok");
    if (call->token != NULL) {
        print_view("secret", layerfi_token_secret(call->token));
        print_number("expires_at_ms", layerfi_token_expires_at_ms(call->token));
        layerfi_token_free(tokens[key]);
        tokens[key] = call->token;
    } else if (call->business_token != NULL) {
        const layerfi_business_token *token = call->business_token;
        print_view("secret", layerfi_business_token_secret(token));
        print_view("business_id", layerfi_business_token_business_id(token));
        print_number("expires_at_ms", layerfi_business_token_expires_at_ms(token));
        print_number("expires_in", (int64_t)layerfi_business_token_expires_in_s(token));
        print_number("session_duration", (int64_t)layerfi_business_token_session_duration_s(token));
        layerfi_business_token_free(business_tokens[key]);
        business_tokens[key] = call->business_token;
    } else if (call->whoami != NULL) {
        print_view("client_name", layerfi_whoami_client_name(call->whoami));
        print_view("client_id", layerfi_whoami_client_id(call->whoami));
        layerfi_whoami_free(call->whoami);
    } else {
        print_number("invalidated", call->invalidated);
    }
    end_line();
}

static void call(char **words, int count) {
    size_t callers = (size_t)number(words[1], 1);
    size_t key = count > 2 ? (size_t)number(words[count - 1], 0) : 0;
    CHECK(key < MAX_KEYS);
    struct call *calls = calloc(callers, sizeof *calls);
    pthread_t *threads = calloc(callers, sizeof *threads);
    for (size_t i = 0; i < callers; i++) {
        calls[i].words = words;
        if (callers == 1) {
            make_call(&calls[i]);
        } else {
            CHECK(pthread_create(&threads[i], NULL, make_call, &calls[i]) == 0);
        }
    }
    for (size_t i = 0; i < callers; i++) {
        if (callers > 1) {
            CHECK(pthread_join(threads[i], NULL) == 0);
        }
        print_outcome(&calls[i], key);
    }
    free(calls);
    free(threads);
}

static void build(void) {
    if (setter_error == NULL &&
        layerfi_client_builder_build(builder, &client, &setter_error) == LAYERFI_RESULT_OK) {
        printf("ok");
        end_line();
        return;
    }
    print_error(setter_error);
}

static void print_stats(void) {
    layerfi_stats stats;
    CHECK_OK(layerfi_client_stats(client, &stats, sizeof stats, &error));
    printf("ok");
    print_number("hits", (int64_t)stats.hits);
    print_number("stale_serves", (int64_t)stats.stale_serves);
    print_number("misses", (int64_t)stats.misses);
    print_number("waits", (int64_t)stats.waits);
    print_number("refreshes", (int64_t)stats.refreshes);
    print_number("token_requests", (int64_t)stats.token_requests);
    print_number("mints", (int64_t)stats.mints);
    print_number("retries", (int64_t)stats.retries);
    print_number("invalidations", (int64_t)stats.invalidations);
    end_line();
}

/* Only in a library with the feature `test-hooks`. */
layerfi_result layerfi_test_panic(const layerfi_client *client, layerfi_error **error);

static void panic(void) {
    layerfi_error *error = NULL;
    CHECK(layerfi_test_panic(client, &error) == LAYERFI_RESULT_PANIC);
    print_error(error);
    layerfi_error_free(error);
}

static void take_log(void *userdata, uint32_t level, layerfi_str message) {
    (void)userdata;
    fprintf(stderr, "log %" PRIu32 " %s\n", level, message.data);
}

static void end(void) {
    for (size_t i = 0; i < MAX_KEYS; i++) {
        layerfi_token_free(tokens[i]);
        tokens[i] = NULL;
        layerfi_business_token_free(business_tokens[i]);
        business_tokens[i] = NULL;
    }
    layerfi_error_free(setter_error);
    setter_error = NULL;
    layerfi_client_free(client);
    client = NULL;
    layerfi_client_builder_free(builder);
    builder = NULL;
}

static void set_variable(const char *name, const char *value) {
    CHECK((value == NULL ? unsetenv(name) : setenv(name, value, 1)) == 0);
}

int main(void) {
    static char line[1 << 18];
    char *words[MAX_WORDS];
    CHECK_OK(layerfi_set_log_callback(take_log, NULL, LAYERFI_LOG_LEVEL_TRACE, &error));
    for (;;) {
        int count = read_command(line, sizeof line, words, MAX_WORDS);
        if (count < 0) {
            break;
        }
        if (strcmp(words[0], "env") == 0) {
            set_variable(words[1], count > 2 ? words[2] : NULL);
            continue;
        }
        if (strcmp(words[0], "from_env") == 0) {
            if (layerfi_client_builder_from_env(&builder, &setter_error) == LAYERFI_RESULT_OK) {
                CHECK(builder != NULL);
            }
            continue;
        }
        if (builder == NULL) {
            CHECK_OK(layerfi_client_builder_new(&builder, &error));
        }
        if (strcmp(words[0], "set") == 0) {
            CHECK(count == 3);
            layerfi_error *error = NULL;
            if (set(words[1], words[2], &error) != LAYERFI_RESULT_OK && setter_error == NULL) {
                setter_error = error;
            } else {
                layerfi_error_free(error);
            }
        } else if (strcmp(words[0], "build") == 0) {
            build();
        } else if (strcmp(words[0], "stats") == 0) {
            print_stats();
        } else if (strcmp(words[0], "panic") == 0) {
            panic();
        } else if (strcmp(words[0], "end") == 0) {
            end();
            printf("ok");
            end_line();
        } else {
            call(words, count);
        }
    }
    end();
    return 0;
}
