/* One process of a fleet, in C. tests/rust/src/bin/fleet_worker.rs documents the
 * protocol; tests/python/fleet.py starts it. */

#include "../c/check.h"

#include <poll.h>

/* The client reads the kernel's coarse clock, which lags by up to one tick:
 * 10 ms with the slowest tick, 100 Hz. */
#define CLOCK_TICK_MS 10
#define SLOW_MS 100

static int output;
static uint64_t calls, failed, dead, slowest_ms;

static uint64_t number(const char *name) {
    const char *text = getenv(name);
    CHECK(text != NULL);
    return strtoull(text, NULL, 10);
}

static int64_t wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Writes a line: the begin of a JSON object, and the end that they all have. */
static void say(const char *line) {
    char text[1024];
    int length = snprintf(text, sizeof text, "%s,\"pid\":%d}\n", line, (int)getpid());
    CHECK(length > 0 && (size_t)length < sizeof text);
    CHECK(write(output, text, (size_t)length) == length);
}

/* FNV-1a: the same in each language, and does not show the token. */
static uint64_t hash(const char *text) {
    uint64_t state = UINT64_C(0xcbf29ce484222325);
    for (; *text != 0; text++) {
        state = (state ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    }
    return state;
}

static int base64url(char letter) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *at = letter == 0 ? NULL : strchr(letters, letter);
    return at == NULL ? -1 : (int)(at - letters);
}

/* When the emulator's token expires, by the emulator's own record. */
static int64_t true_expiry_ms(const char *token) {
    char claims[4096];
    size_t length = 0;
    unsigned bits = 0, kept = 0;
    const char *at = strchr(token, '.');
    CHECK(at != NULL);
    for (at++; base64url(*at) >= 0; at++) {
        bits = (bits << 6 | (unsigned)base64url(*at)) & 0xffff;
        kept += 6;
        if (kept >= 8) {
            kept -= 8;
            CHECK(length < sizeof claims - 1);
            claims[length++] = (char)(bits >> kept & 0xff);
        }
    }
    claims[length] = 0;
    const char *found = strstr(claims, "\"exp_ms\":");
    CHECK(found != NULL);
    return strtoll(found + strlen("\"exp_ms\":"), NULL, 10);
}

/* The start of a call on both clocks. */
struct asked {
    int64_t wall_ms;
    double at_s;
};

static struct asked ask(void) {
    return (struct asked){wall_ms(), now_s()};
}

/* Records a call, and its error, which it frees. */
static uint64_t record(struct asked asked, const char *what, layerfi_error *error) {
    uint64_t took = (uint64_t)((now_s() - asked.at_s) * 1000);
    calls++;
    slowest_ms = took > slowest_ms ? took : slowest_ms;
    if (took >= SLOW_MS) {
        char line[64];
        snprintf(line, sizeof line, "{\"slow\":%" PRIu64, took);
        say(line);
    }
    if (error != NULL) {
        char line[256];
        failed++;
        fprintf(stderr, "%s: %s\n", what, layerfi_error_display(error).data);
        snprintf(line, sizeof line, "{\"failed\":\"%s\",\"what\":\"%s\"",
                 layerfi_result_name(layerfi_error_result(error)).data, what);
        say(line);
        layerfi_error_free(error);
    }
    return took;
}

/* Judges a token that was served. */
static void served(uint64_t *last, const char *what, struct asked asked, const char *token,
                   int64_t believed_ms) {
    char line[256];
    uint64_t took = record(asked, what, NULL);
    int64_t expiry = true_expiry_ms(token);
    int64_t late = (asked.wall_ms > believed_ms ? asked.wall_ms : believed_ms) - expiry;
    if (late >= CLOCK_TICK_MS) {
        dead++;
        snprintf(line, sizeof line, "{\"dead\":%" PRId64 ",\"what\":\"%s\"", late, what);
        say(line);
    }
    if (*last != hash(token)) {
        *last = hash(token);
        snprintf(line, sizeof line,
                 "{\"%s\":\"%016" PRIx64 "\",\"took_ms\":%" PRIu64 ",\"at_ms\":%" PRId64, what,
                 *last, took, asked.wall_ms);
        say(line);
    }
}

static void get_token(const layerfi_client *client) {
    static uint64_t last;
    struct asked asked = ask();
    layerfi_token *token = NULL;
    layerfi_error *error = NULL;
    if (layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error) == LAYERFI_RESULT_OK) {
        served(&last, "token", asked, layerfi_token_secret(token).data,
               layerfi_token_expires_at_ms(token));
    } else {
        record(asked, "token", error);
    }
    layerfi_token_free(token);
}

static void get_business_token(const layerfi_client *client, const char *business) {
    static uint64_t last;
    struct asked asked = ask();
    layerfi_business_token *token = NULL;
    layerfi_error *error = NULL;
    if (layerfi_client_business_token(client, business, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                      LAYERFI_DEFAULT, &token, &error) == LAYERFI_RESULT_OK) {
        served(&last, "business", asked, layerfi_business_token_secret(token).data,
               layerfi_business_token_expires_at_ms(token));
    } else {
        record(asked, "business", error);
    }
    layerfi_business_token_free(token);
}

static void call_whoami(const layerfi_client *client) {
    struct asked asked = ask();
    layerfi_whoami *whoami = NULL;
    layerfi_error *error = NULL;
    layerfi_client_whoami(client, LAYERFI_DEFAULT, &whoami, &error);
    record(asked, "whoami", error);
    layerfi_whoami_free(whoami);
}

int main(void) {
    output = (int)number("FLEET_OUTPUT_FD");
    int stop = (int)number("FLEET_STOP_FD");
    uint64_t whoami_every = number("FLEET_WHOAMI_EVERY");
    const char *business = getenv("FLEET_BUSINESS");
    layerfi_client_builder *builder = NULL;
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_from_env(&builder, &error));
    CHECK_OK(layerfi_client_builder_set_no_proxy(builder, &error));
    CHECK_OK(layerfi_client_builder_set_timeout_ms(builder, number("FLEET_TIMEOUT_MS"), &error));
    CHECK_OK(
        layerfi_client_builder_set_attempt_timeout_ms(builder, number("FLEET_ATTEMPT_MS"), &error));
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    say("{\"ready\":\"c\"");
    char byte;
    CHECK(read((int)number("FLEET_START_FD"), &byte, 1) == 0);

    struct pollfd end = {stop, POLLIN, 0};
    uint64_t round = 0;
    do {
        get_token(client);
        if (business != NULL && *business != 0) {
            get_business_token(client, business);
        }
        if (round++ % whoami_every == 0) {
            call_whoami(client);
        }
    } while (poll(&end, 1, (int)number("FLEET_INTERVAL_MS")) == 0);

    layerfi_stats stats;
    char line[768];
    CHECK_OK(layerfi_client_stats(client, &stats, sizeof stats, &error));
    snprintf(line, sizeof line,
             "{\"end\":\"c\",\"calls\":%" PRIu64 ",\"failed_calls\":%" PRIu64
             ",\"dead_tokens\":%" PRIu64 ",\"slowest_ms\":%" PRIu64 ",\"token_requests\":%" PRIu64
             ",\"mints\":%" PRIu64 ",\"adopted\":%" PRIu64 ",\"published\":%" PRIu64
             ",\"waits\":%" PRIu64 ",\"alone\":%" PRIu64 ",\"rejected\":%" PRIu64
             ",\"faults\":%" PRIu64,
             calls, failed, dead, slowest_ms, stats.token_requests, stats.mints,
             stats.shared_adopted, stats.shared_published, stats.shared_waits, stats.shared_alone,
             stats.shared_rejected, stats.shared_faults);
    say(line);
    layerfi_client_free(client);
    return 0;
}
