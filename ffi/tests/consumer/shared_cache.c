/* Builds a client with a shared cache that does not run, and gets a token without it. Prints
 * "ok" and counters, or the error of a library that was built without the shared cache. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <layerfi_auth.h>

static int fail(layerfi_error *error) {
    fprintf(stderr, "%s\n", layerfi_error_display(error).data);
    layerfi_error_free(error);
    return EXIT_FAILURE;
}

int main(int count, char **arguments) {
    layerfi_client_builder *builder = NULL;
    layerfi_client *client = NULL;
    layerfi_token *token = NULL;
    layerfi_error *error = NULL;
    layerfi_stats stats;
    if (count != 2 || layerfi_client_builder_from_env(&builder, &error) != LAYERFI_RESULT_OK ||
        layerfi_client_builder_set_shared_cache(builder, arguments[1], &error) !=
            LAYERFI_RESULT_OK ||
        layerfi_client_builder_set_shared_cache_key(builder, "a key", &error) !=
            LAYERFI_RESULT_OK ||
        layerfi_client_builder_set_shared_cache_prefix(builder, "test", &error) !=
            LAYERFI_RESULT_OK ||
        layerfi_client_builder_set_shared_business_tokens(builder, false, &error) !=
            LAYERFI_RESULT_OK) {
        return fail(error);
    }
    const layerfi_result built = layerfi_client_builder_build(builder, &client, &error);
    layerfi_client_builder_free(builder);
    if (built == LAYERFI_RESULT_CONFIG) {
        printf("%s: %s\n", layerfi_error_field(error).data, layerfi_error_display(error).data);
        layerfi_error_free(error);
        return EXIT_SUCCESS;
    }
    if (built != LAYERFI_RESULT_OK ||
        layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error) != LAYERFI_RESULT_OK ||
        layerfi_client_stats(client, &stats, sizeof stats, &error) != LAYERFI_RESULT_OK) {
        return fail(error);
    }
    printf("ok, cache %" PRIu64 ", alone %" PRIu64 "\n", stats.shared_cache, stats.shared_alone);
    layerfi_token_free(token);
    layerfi_client_free(client);
    return EXIT_SUCCESS;
}
