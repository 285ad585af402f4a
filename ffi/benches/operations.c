/* Runs one operation many times: `operations NAME CALLS`. See benches/operations.rs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <layerfi_auth.h>

/* A client allows five renewals at once. */
enum { RENEWALS = 5 };
static const char BUSINESS[] = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

static void check(layerfi_result result, const char *call) {
    if (result != LAYERFI_RESULT_OK) {
        fprintf(stderr, "operations: %s failed: %s\n", call, layerfi_result_name(result).data);
        exit(1);
    }
}

static layerfi_client *new_client(void) {
    layerfi_client *client = NULL;
    check(layerfi_client_from_env(&client, NULL), "layerfi_client_from_env");
    return client;
}

static layerfi_token *token_of(const layerfi_client *client) {
    layerfi_token *token = NULL;
    check(layerfi_client_token(client, LAYERFI_DEFAULT, &token, NULL), "layerfi_client_token");
    return token;
}

/* The minimum for hit-copy: a memcpy of the same number of bytes. */
static void floor_memcpy(long calls) {
    static char text[4096];
    layerfi_client *client = new_client();
    layerfi_token *token = token_of(client);
    volatile size_t length = layerfi_token_authorization(token).len + 1;
    for (long i = 0; i < calls; i++) {
        char buffer[4096];
        memcpy(buffer, text, length);
        __asm__ volatile("" : : "r"(buffer) : "memory");
    }
    layerfi_token_free(token);
    layerfi_client_free(client);
}

static void hit_copy(long calls) {
    layerfi_client *client = new_client();
    layerfi_token_free(token_of(client));
    for (long i = 0; i < calls; i++) {
        char buffer[4096];
        size_t length = 0;
        check(layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, buffer, sizeof buffer,
                                                &length, NULL),
              "layerfi_client_copy_authorization");
    }
    layerfi_client_free(client);
}

static void hit_handle(long calls) {
    layerfi_client *client = new_client();
    layerfi_token_free(token_of(client));
    for (long i = 0; i < calls; i++) {
        layerfi_token *token = token_of(client);
        if (layerfi_token_authorization(token).len == 0) {
            exit(1);
        }
        layerfi_token_free(token);
    }
    layerfi_client_free(client);
}

/* A new client's token, then renewals on its connection: CALLS of them in all. */
static void token(long calls) {
    for (long done = 0; done < calls;) {
        layerfi_client *client = new_client();
        layerfi_token *current = token_of(client);
        for (int i = 0; i < RENEWALS && done < calls; i++, done++) {
            layerfi_token *next = NULL;
            check(layerfi_client_renew_token(client, current, LAYERFI_DEFAULT, &next, NULL),
                  "layerfi_client_renew_token");
            layerfi_token_free(current);
            current = next;
        }
        layerfi_token_free(current);
        layerfi_client_free(client);
    }
}

/* As token, without the renewals. */
static void token_first_only(long calls) {
    for (long done = 0; done < calls; done += RENEWALS) {
        layerfi_client *client = new_client();
        layerfi_token_free(token_of(client));
        layerfi_client_free(client);
    }
}

static void mint(long calls) {
    layerfi_client *client = new_client();
    for (long i = 0; i <= calls; i++) {
        layerfi_business_token *minted = NULL;
        check(layerfi_client_mint_business_token(client, BUSINESS, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                                 &minted, NULL),
              "layerfi_client_mint_business_token");
        layerfi_business_token_free(minted);
    }
    layerfi_client_free(client);
}

static void first(long calls) {
    (void)calls;
    layerfi_client *client = new_client();
    layerfi_token_free(token_of(client));
    layerfi_client_free(client);
}

/* What all programs cost before their first call. */
static void nothing(long calls) {
    (void)calls;
}

int main(int count, char **arguments) {
    static const struct {
        const char *name;
        void (*run)(long calls);
    } operations[] = {
        {"nothing", nothing},   {"floor-memcpy", floor_memcpy},
        {"hit-copy", hit_copy}, {"hit-handle", hit_handle},
        {"token", token},       {"token-first-only", token_first_only},
        {"mint", mint},         {"first", first},
    };
    const char *name = count > 1 ? arguments[1] : "";
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (strcmp(operations[i].name, name) == 0) {
            operations[i].run(count > 2 ? strtol(arguments[2], NULL, 10) : 0);
            return 0;
        }
    }
    fprintf(stderr, "operations: there is no operation %s\n", name);
    return 1;
}
