/* B20: no function of the library returns with bytes of a secret in a vector
 * register. A program that binds its functions lazily would save them on its
 * stack: glibc's resolver does so at the first call of each function. */
#include "check.h"

#if !defined(__x86_64__)
int main(void) {
    puts("ok");
    return 0;
}
#else

/* 32 registers of 64 bytes, as AVX-512 has them. */
enum { REGISTERS = 32, REGISTER_BYTES = 64, LANE = 8 };

static unsigned char registers[REGISTERS * REGISTER_BYTES] __attribute__((aligned(64)));
static int has_avx, has_avx512;

#define MOVE(instruction, register, number)                                                        \
    instruction " %%" #register #number ", " #number "*64(%0)\n\t"
#define MOVE_8(instruction, register, a, b, c, d, e, f, g, h)                                      \
    MOVE(instruction, register, a)                                                                 \
    MOVE(instruction, register, b)                                                                 \
    MOVE(instruction, register, c)                                                                 \
    MOVE(instruction, register, d)                                                                 \
    MOVE(instruction, register, e)                                                                 \
    MOVE(instruction, register, f)                                                                 \
    MOVE(instruction, register, g)                                                                 \
    MOVE(instruction, register, h)
#define MOVE_LOW(instruction, register)                                                            \
    MOVE_8(instruction, register, 0, 1, 2, 3, 4, 5, 6, 7)                                          \
    MOVE_8(instruction, register, 8, 9, 10, 11, 12, 13, 14, 15)
#define MOVE_HIGH(instruction, register)                                                           \
    MOVE_8(instruction, register, 16, 17, 18, 19, 20, 21, 22, 23)                                  \
    MOVE_8(instruction, register, 24, 25, 26, 27, 28, 29, 30, 31)

/* Copies the vector registers to `registers`, as they are at the call. Inline
 * and in assembler, so that nothing changes them before. */
static inline __attribute__((always_inline)) void capture(void) {
    if (has_avx512) {
        __asm__ volatile(MOVE_LOW("vmovups", zmm) MOVE_HIGH("vmovups", zmm)
                         :
                         : "r"(registers)
                         : "memory");
    } else if (has_avx) {
        __asm__ volatile(MOVE_LOW("vmovups", ymm) : : "r"(registers) : "memory");
    } else {
        __asm__ volatile(MOVE_LOW("movups", xmm) : : "r"(registers) : "memory");
    }
}

/* Loads the beginning of a text into registers, as a copy of it would. */
static void load(const char *text) {
    if (has_avx512) {
        __asm__ volatile("vmovups (%0), %%zmm5\n\tvmovups (%0), %%zmm17" : : "r"(text) : "xmm5");
    } else if (has_avx) {
        __asm__ volatile("vmovups (%0), %%ymm5" : : "r"(text) : "xmm5");
    } else {
        __asm__ volatile("movups (%0), %%xmm5" : : "r"(text) : "xmm5");
    }
}

/* How many lanes of the captured registers hold a piece of a text. */
static int lanes_with(const char *text) {
    static const unsigned char zeros[LANE];
    size_t length = strlen(text);
    int found = 0;
    for (size_t at = 0; at < sizeof registers; at += LANE) {
        if (memcmp(registers + at, zeros, LANE) != 0 &&
            memmem(text, length, registers + at, LANE) != NULL) {
            found++;
        }
    }
    return found;
}

static char header[20000];
static char business_header[20000];

static void check_captured(const char *call) {
    const char *const secrets[] = {header, business_header, getenv("LAYER_CLIENT_SECRET")};
    const char *const names[] = {"access token", "business token", "client secret"};
    for (size_t i = 0; i < 3; i++) {
        if (strlen(secrets[i]) < LANE) {
            continue;
        }
        int found = lanes_with(secrets[i]);
        if (found > 0) {
            fprintf(stderr, "after %s, %d lanes of the vector registers hold bytes of the %s\n",
                    call, found, names[i]);
            _exit(1);
        }
    }
}

/* Makes a call that must succeed, and captures the registers right after it. */
#define CHECK_CLEAR(call)                                                                          \
    do {                                                                                           \
        layerfi_error *error = NULL;                                                               \
        memset(registers, 0, sizeof registers);                                                    \
        layerfi_result result = call;                                                              \
        capture();                                                                                 \
        if (result != LAYERFI_RESULT_OK) {                                                         \
            fprintf(stderr, "%s: %s\n", #call, layerfi_error_display(error).data);                 \
            _exit(1);                                                                              \
        }                                                                                          \
        check_captured(#call);                                                                     \
    } while (0)

/* The search finds a text in every register that it reads. */
static void the_search_finds_what_is_loaded(void) {
    memset(registers, 0, sizeof registers);
    load(header);
    capture();
    int expected = has_avx512 ? 16 : has_avx ? 4 : 2;
    int found = lanes_with(header);
    if (found < expected) {
        fprintf(stderr, "the search found %d of %d loaded lanes\n", found, expected);
        _exit(1);
    }
}

static bool give_credentials(void *userdata, layerfi_credentials *credentials) {
    (void)userdata;
    CHECK_CLEAR(layerfi_credentials_set(credentials, getenv("LAYER_CLIENT_ID"),
                                        getenv("LAYER_CLIENT_SECRET"), &error));
    return true;
}

static void copies(const layerfi_client *client) {
    size_t length = 0;
    char buffer[sizeof header];
    CHECK_OK(layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, header, sizeof header,
                                               &length, &error));
    CHECK(length > 2 * REGISTER_BYTES);
    the_search_finds_what_is_loaded();
    CHECK_CLEAR(layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, buffer, sizeof buffer,
                                                  &length, &error));
    CHECK_CLEAR(
        layerfi_client_try_copy_authorization(client, buffer, sizeof buffer, &length, &error));
    layerfi_token *token = NULL;
    CHECK_CLEAR(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    layerfi_token_free(token);
    CHECK_CLEAR(layerfi_client_prepare(client, &error));
    CHECK_CLEAR(layerfi_client_try_token(client, &token, &error));
    layerfi_token_free(token);
}

static void business_tokens(const layerfi_client *client) {
    layerfi_business_token *token = NULL, *same = NULL;
    CHECK_CLEAR(layerfi_client_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT,
                                              LAYERFI_DEFAULT, &token, &error));
    snprintf(business_header, sizeof business_header, "%s",
             layerfi_business_token_authorization(token).data);
    layerfi_business_token_free(token);
    CHECK_CLEAR(layerfi_client_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT,
                                              LAYERFI_DEFAULT, &token, &error));
    CHECK_CLEAR(
        layerfi_client_try_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT, &same, &error));
    CHECK_CLEAR(layerfi_client_invalidate_business_token(client, same, NULL, &error));
    layerfi_business_token_free(same);
    layerfi_business_token_free(token);
    CHECK_CLEAR(
        layerfi_client_mint_business_token(client, BUSINESS, 60, LAYERFI_DEFAULT, &token, &error));
    layerfi_json *json = NULL;
    CHECK_CLEAR(layerfi_business_token_json(token, &json, &error));
    layerfi_json_free(json);
    CHECK_CLEAR(layerfi_business_token_layer_provider_props_json(token, NULL, &json, &error));
    layerfi_json_free(json);
    layerfi_business_token_free(token);
    const char *ids[] = {BUSINESS};
    layerfi_business_tokens *tokens = NULL;
    CHECK_CLEAR(layerfi_client_business_tokens(client, ids, 1, 3600, LAYERFI_DEFAULT,
                                               LAYERFI_DEFAULT, NULL, NULL, &tokens, &error));
    CHECK_CLEAR(layerfi_business_tokens_get(tokens, 0, &token, &error));
    layerfi_business_token_free(token);
    layerfi_business_tokens_free(tokens);
}

static void requests_with_the_token(const layerfi_client *client) {
    layerfi_whoami *whoami = NULL;
    CHECK_CLEAR(layerfi_client_whoami(client, LAYERFI_DEFAULT, &whoami, &error));
    layerfi_whoami_free(whoami);
    layerfi_response *response = NULL;
    const layerfi_header with_secret = {"X-Copy", header};
    CHECK_CLEAR(layerfi_client_execute(client, "GET", "/whoami", &with_secret, 1,
                                       (const uint8_t *)header, strlen(header), LAYERFI_DEFAULT,
                                       &response, &error));
    layerfi_response_free(response);
    /* Compares the value with the token. */
    CHECK_CLEAR(layerfi_client_invalidate_authorization(client, header, NULL, &error));
}

static void settings(void) {
    layerfi_client_builder *builder = NULL;
    layerfi_client *client = NULL;
    CHECK_CLEAR(layerfi_client_builder_from_env(&builder, &error));
    CHECK_CLEAR(
        layerfi_client_builder_set_client_secret(builder, getenv("LAYER_CLIENT_SECRET"), &error));
    CHECK_CLEAR(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_free(client);
    CHECK_OK(layerfi_client_builder_set_credentials_callback(builder, give_credentials, NULL, NULL,
                                                             &error));
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    layerfi_token *token = NULL;
    CHECK_CLEAR(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    layerfi_token_free(token);
    layerfi_client_free(client);
}

int main(void) {
    has_avx = __builtin_cpu_supports("avx");
    has_avx512 = __builtin_cpu_supports("avx512f");
    layerfi_client *client = NULL;
    CHECK_CLEAR(layerfi_client_from_env(&client, &error));
    copies(client);
    business_tokens(client);
    requests_with_the_token(client);
    layerfi_client_free(client);
    settings();
    puts("ok");
    return 0;
}
#endif
