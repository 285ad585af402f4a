/* A daemon that calls the Layer API with libcurl at regular intervals. After a 401 it gets
 * another token and repeats the call. SIGHUP makes it read its settings again, SIGTERM
 * ends it. Usage: daemon SETTINGS-FILE
 */
#define _DEFAULT_SOURCE /* for explicit_bzero */
#include <curl/curl.h>
#include <errno.h>
#include <layerfi_auth.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct settings {
    layerfi_client *client;
    char path[512];
    long interval_ms;
};

/* Prints the error of a call of the library, and frees it. */
static void report(const char *what, layerfi_error *error) {
    fprintf(stderr, "%s: %s\n", what, layerfi_error_display(error).data);
    layerfi_error_free(error);
}

/* Reads a file of lines "name value", such as "client_id 4f1a". What the file does not set
 * comes from the LAYER_ variables of the environment. Returns false if it is not valid. */
static bool load(const char *file, struct settings *settings) {
    layerfi_client_builder *builder = NULL;
    layerfi_error *error = NULL;
    char line[1024], name[64], value[512];
    bool is_valid = true;
    FILE *lines = fopen(file, "r");
    if (lines == NULL) {
        fprintf(stderr, "%s: %s\n", file, strerror(errno));
        return false;
    }
    *settings = (struct settings){.path = "/whoami", .interval_ms = 30000};
    if (layerfi_client_builder_from_env(&builder, &error) != LAYERFI_RESULT_OK) {
        report("environment", error);
        fclose(lines);
        return false;
    }
    while (is_valid && fgets(line, sizeof line, lines) != NULL) {
        if (line[0] == '#' || sscanf(line, "%63s %511s", name, value) != 2) {
            continue; /* A comment or an empty line. */
        }
        if (strcmp(name, "path") == 0) {
            snprintf(settings->path, sizeof settings->path, "%s", value);
        } else if (strcmp(name, "interval_ms") == 0) {
            settings->interval_ms = strtol(value, NULL, 10);
        } else if (strcmp(name, "client_id") == 0) {
            layerfi_client_builder_set_client_id(builder, value, NULL);
        } else if (strcmp(name, "client_secret_file") == 0) {
            /* The library reads it before each token request: no SIGHUP after a rotation. */
            layerfi_client_builder_set_client_secret_file(builder, value, NULL);
        } else {
            fprintf(stderr, "%s: unknown setting %s\n", file, name);
            is_valid = false;
        }
    }
    fclose(lines);
    if (is_valid && (settings->interval_ms < 1 || settings->path[0] != '/')) {
        fprintf(stderr, "%s: interval_ms must be 1 or more, and path start with /\n", file);
        is_valid = false;
    }
    /* Fails with the first error of any setter. */
    if (is_valid &&
        layerfi_client_builder_build(builder, &settings->client, &error) != LAYERFI_RESULT_OK) {
        report(file, error);
        is_valid = false;
    }
    layerfi_client_builder_free(builder);
    return is_valid;
}

/* Reads the settings again. Keeps the old ones if the new ones are not valid, or if their
 * credentials get no token. */
static void reload(const char *file, struct settings *settings) {
    struct settings fresh = {0};
    layerfi_token *token = NULL;
    layerfi_error *error = NULL;
    bool is_usable = load(file, &fresh);
    if (is_usable &&
        layerfi_client_token(fresh.client, LAYERFI_DEFAULT, &token, &error) != LAYERFI_RESULT_OK) {
        report("token for the new settings", error);
        is_usable = false;
    }
    layerfi_token_free(token);
    if (is_usable) {
        layerfi_client_free(settings->client);
        *settings = fresh;
    } else {
        layerfi_client_free(fresh.client);
    }
    printf("reload: %s\n", is_usable ? "new settings" : "kept the old settings");
}

/* Your program reads the response here. */
static size_t discard(char *data, size_t size, size_t count, void *user) {
    (void)data, (void)user;
    return size * count;
}

/* Sends one GET. Returns its status, or -1. */
static long get(CURL *curl, const char *url, const char *authorization) {
    char header[16500];
    long status = -1;
    snprintf(header, sizeof header, "Authorization: %s", authorization);
    struct curl_slist *headers = curl_slist_append(NULL, header);
    explicit_bzero(header, sizeof header);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    const CURLcode result = curl_easy_perform(curl);
    if (result == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    } else {
        fprintf(stderr, "%s: %s\n", url, curl_easy_strerror(result));
    }
    curl_slist_free_all(headers);
    return status;
}

/* Calls the API once, and once more with another token after a 401. */
static void call(CURL *curl, const struct settings *settings) {
    char url[1024], authorization[16392]; /* Enough for any token. */
    long status = 401;
    snprintf(url, sizeof url, "%s%s", layerfi_client_api_url(settings->client).data,
             settings->path);
    for (int attempt = 0; attempt < 2 && status == 401; attempt++) {
        layerfi_error *error = NULL;
        if (layerfi_client_copy_authorization(settings->client, LAYERFI_DEFAULT, authorization,
                                              sizeof authorization, NULL,
                                              &error) != LAYERFI_RESULT_OK) {
            report("token", error); /* The next call tries again. */
            return;
        }
        status = get(curl, url, authorization);
        if (status == 401) {
            layerfi_client_invalidate_authorization(settings->client, authorization, NULL, NULL);
        }
        explicit_bzero(authorization, sizeof authorization);
    }
    printf("%s %ld\n", settings->path, status);
}

int main(int argc, char **argv) {
    struct settings settings = {0};
    sigset_t signals;
    int signal = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s SETTINGS-FILE\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* Each line reaches the journal at once. */
    /* Signals wait until the daemon looks for them; no handler interrupts a call. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    if (!load(argv[1], &settings)) {
        return 1;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = curl_easy_init(); /* One handle, so that the connection is used again. */
    while (signal != SIGTERM && signal != SIGINT) {
        if (signal == SIGHUP) {
            reload(argv[1], &settings);
        }
        call(curl, &settings);
        const struct timespec interval = {.tv_sec = settings.interval_ms / 1000,
                                          .tv_nsec = settings.interval_ms % 1000 * 1000000};
        signal = sigtimedwait(&signals, NULL, &interval); /* -1 after the interval. */
    }
    curl_easy_cleanup(curl);
    curl_global_cleanup();
    layerfi_client_free(settings.client);
    printf("stopped\n");
    return 0;
}
