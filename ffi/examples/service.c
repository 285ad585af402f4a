/* A service that calls the Layer API with libcurl. It copies the header value into
 * its own buffer: no lock and no handle, from any thread. After a 401 it invalidates
 * the token and repeats the call once.
 *
 *   cc service.c $(pkg-config --cflags --libs layerfi_auth libcurl)
 */
#include <curl/curl.h>
#include <layerfi_auth.h>
#include <stdio.h>

/* Sends a GET and prints the response. Returns its status, or -1. */
static long get(CURL *curl, const char *url, const char *authorization) {
    char header[20000];
    long status = -1;
    snprintf(header, sizeof header, "Authorization: %s", authorization);
    struct curl_slist *headers = curl_slist_append(NULL, header);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (curl_easy_perform(curl) == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    }
    curl_slist_free_all(headers);
    return status;
}

int main(void) {
    layerfi_client *client = NULL; /* One for the whole program. */
    layerfi_error *error = NULL;
    char url[512], authorization[16392]; /* Enough for any token. */
    long status = 401;
    if (layerfi_client_from_env(&client, &error) != LAYERFI_RESULT_OK) {
        goto failed;
    }
    CURL *curl = curl_easy_init();
    snprintf(url, sizeof url, "%s/whoami", layerfi_client_api_url(client).data);
    for (int attempt = 0; attempt < 2 && status == 401; attempt++) {
        if (layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, authorization,
                                              sizeof authorization, NULL,
                                              &error) != LAYERFI_RESULT_OK) {
            curl_easy_cleanup(curl);
            goto failed;
        }
        status = get(curl, url, authorization);
        if (status == 401) {
            layerfi_client_invalidate_authorization(client, authorization, NULL, NULL);
        }
    }
    curl_easy_cleanup(curl);
    layerfi_client_free(client);
    printf("\nstatus %ld\n", status);
    return status == 200 ? 0 : 1;
failed:
    fprintf(stderr, "%s\n", layerfi_error_display(error).data);
    layerfi_error_free(error);
    layerfi_client_free(client);
    return 1;
}
