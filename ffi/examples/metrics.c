/* The statistics of a client in the text format of Prometheus. A service writes this
 * where it answers a GET of /metrics.
 *
 *   cc metrics.c $(pkg-config --cflags --libs layerfi_auth)
 */
#include <inttypes.h>
#include <layerfi_auth.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

static const struct {
    const char *name, *help;
    size_t field;
} counters[] = {
    {"cache_hits", "Calls that returned a cached token at once.", offsetof(layerfi_stats, hits)},
    {"cache_stale_hits", "Hits while a refresh was due, running or failing.",
     offsetof(layerfi_stats, stale_serves)},
    {"cache_misses", "Fetches started because there was no valid token.",
     offsetof(layerfi_stats, misses)},
    {"cache_waits", "Calls that waited for a fetch, their own or another call's.",
     offsetof(layerfi_stats, waits)},
    {"cache_refreshes", "Fetches started in the background before a token expired.",
     offsetof(layerfi_stats, refreshes)},
    {"token_requests", "Requests sent to the token endpoint.",
     offsetof(layerfi_stats, token_requests)},
    {"business_token_requests", "Requests sent to mint business tokens.",
     offsetof(layerfi_stats, mints)},
    {"retries", "Requests that were sent again after a failure.", offsetof(layerfi_stats, retries)},
    {"invalidations", "Tokens that were invalidated because a server refused them.",
     offsetof(layerfi_stats, invalidations)},
    {"shared_cache_adopted", "Tokens that came from the shared cache.",
     offsetof(layerfi_stats, shared_adopted)},
    {"shared_cache_published", "Tokens that this process stored in the shared cache.",
     offsetof(layerfi_stats, shared_published)},
    {"shared_cache_waits", "Fetches that waited for another process.",
     offsetof(layerfi_stats, shared_waits)},
    {"shared_cache_alone",
     "Requests sent alone, because the shared cache failed or no process had a result.",
     offsetof(layerfi_stats, shared_alone)},
    {"shared_cache_rejected", "Entries of the shared cache that were not accepted.",
     offsetof(layerfi_stats, shared_rejected)},
    {"shared_cache_faults", "Failed operations of the shared cache.",
     offsetof(layerfi_stats, shared_faults)},
};

static void describe(FILE *out, const char *name, const char *kind, const char *help) {
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static void gauge(FILE *out, const char *name, const char *help, double value) {
    describe(out, name, "gauge", help);
    fprintf(out, "%s %.3f\n", name, value);
}

/* Writes all metrics of a client. It waits for nothing and sends nothing. */
static layerfi_result write_metrics(FILE *out, const layerfi_client *client,
                                    layerfi_error **error) {
    layerfi_stats stats;
    layerfi_result result = layerfi_client_stats(client, &stats, sizeof stats, error);
    if (result != LAYERFI_RESULT_OK) {
        return result;
    }
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        char name[64];
        const char *field = (const char *)&stats + counters[i].field;
        snprintf(name, sizeof name, "layerfi_auth_%s_total", counters[i].name);
        describe(out, name, "counter", counters[i].help);
        fprintf(out, "%s %" PRIu64 "\n", name, *(const uint64_t *)(const void *)field);
    }
    describe(out, "layerfi_auth_failures_total", "counter",
             "Fetches that failed after all retries, by kind of error.");
    /* The results below 16 are the kinds of errors. Also write those that did not
     * occur: Prometheus sees no increase in a new series. */
    for (uint32_t kind = LAYERFI_RESULT_CONFIG; kind <= LAYERFI_RESULT_INTERNAL; kind++) {
        fprintf(out, "layerfi_auth_failures_total{error_type=\"%s\"} %" PRIu64 "\n",
                layerfi_result_name(kind).data, stats.failures[kind]);
    }
    gauge(out, "layerfi_auth_cache_business_tokens", "Business tokens in the cache.",
          (double)stats.business_tokens);
    if (stats.shared_cache != LAYERFI_SHARED_CACHE_STATE_OFF) {
        gauge(out, "layerfi_auth_shared_cache_up",
              "1 if the shared cache is used, 0 if it failed; no value without a shared "
              "cache.",
              stats.shared_cache == LAYERFI_SHARED_CACHE_STATE_UP);
    }
    if (stats.expires_at_ms >= 0) {
        const double expiry = (double)stats.expires_at_ms / 1000;
        const double left = expiry - (double)time(NULL);
        gauge(out, "layerfi_auth_token_expiry_timestamp_seconds",
              "When the current access token expires, in seconds since 1970-01-01 UTC.", expiry);
        gauge(out, "layerfi_auth_token_remaining_seconds",
              "Time until the current access token expires; 0 if it has expired.",
              left > 0 ? left : 0);
    }
    return LAYERFI_RESULT_OK;
}

int main(void) {
    char header[16392];
    layerfi_client *client = NULL;
    layerfi_error *error = NULL;
    layerfi_result result = layerfi_client_from_env(&client, &error);
    if (result == LAYERFI_RESULT_OK) {
        result = layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, header, sizeof header,
                                                   NULL, &error);
    }
    if (result == LAYERFI_RESULT_OK) {
        result = write_metrics(stdout, client, &error);
    }
    if (result != LAYERFI_RESULT_OK) {
        fprintf(stderr, "%s\n", layerfi_error_display(error).data);
    }
    layerfi_error_free(error);
    layerfi_client_free(client);
    return result == LAYERFI_RESULT_OK ? 0 : 1;
}
