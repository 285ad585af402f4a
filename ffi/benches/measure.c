/* Measures times of the C binding beside hand-written libcurl: `measure PART`. Prints one line
 * of JSON per value: the figure's name and the value of one round. scripts/bench runs it; the
 * client's settings come from the environment. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>
#include <layerfi_auth.h>

enum { HIT_ROUNDS = 40, HIT_CALLS = 100000, WIRE_ROUNDS = 12, CLIENTS = 20, RENEWALS = 5 };

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void value(const char *name, double figure) {
    printf("{\"name\": \"%s\", \"rounds\": [%.4f]}\n", name, figure);
}

static void fail(const char *what) {
    fprintf(stderr, "measure: %s failed\n", what);
    exit(1);
}

static int compare(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static double resident_mb(void) {
    long pages = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm == NULL || fscanf(statm, "%ld %ld", &pages, &resident) != 2) {
        fail("reading /proc/self/statm");
    }
    fclose(statm);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

/* How often a thread of this process slept and was woken. */
static double sleeps(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_nvcsw;
}

/* The binding. */

static layerfi_client *new_client(void) {
    layerfi_client *client = NULL;
    if (layerfi_client_from_env(&client, NULL) != LAYERFI_RESULT_OK) {
        fail("layerfi_client_from_env");
    }
    return client;
}

static layerfi_token *token_of(const layerfi_client *client) {
    layerfi_token *token = NULL;
    if (layerfi_client_token(client, LAYERFI_DEFAULT, &token, NULL) != LAYERFI_RESULT_OK) {
        fail("layerfi_client_token");
    }
    return token;
}

static void new_client_token(void) {
    layerfi_client *client = new_client();
    layerfi_token_free(token_of(client));
    layerfi_client_free(client);
}

/* libcurl: a POST of the form, and the token copied out of the answer. */

struct answer {
    char text[8192];
    size_t length;
};

static size_t receive(char *data, size_t size, size_t count, void *context) {
    struct answer *answer = context;
    size_t length = size * count;
    if (answer->length + length >= sizeof answer->text) {
        return 0;
    }
    memcpy(answer->text + answer->length, data, length);
    answer->length += length;
    answer->text[answer->length] = '\0';
    return length;
}

static char form[512];

static void make_form(void) {
    char *scope = curl_easy_escape(NULL, getenv("LAYER_SCOPE"), 0);
    snprintf(form, sizeof form, "grant_type=client_credentials&scope=%s&client_id=%s", scope,
             getenv("LAYER_CLIENT_ID"));
    curl_free(scope);
}

static CURL *new_curl(struct answer *answer) {
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        fail("curl_easy_init");
    }
    curl_easy_setopt(curl, CURLOPT_URL, getenv("LAYER_AUTH_URL"));
    curl_easy_setopt(curl, CURLOPT_USERNAME, getenv("LAYER_CLIENT_ID"));
    curl_easy_setopt(curl, CURLOPT_PASSWORD, getenv("LAYER_CLIENT_SECRET"));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, form);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (getenv("LAYER_CA_FILE") != NULL) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, getenv("LAYER_CA_FILE"));
    }
    return curl;
}

static void curl_token(CURL *curl, struct answer *answer) {
    char token[4096];
    long status = 0;
    answer->length = 0;
    if (curl_easy_perform(curl) != CURLE_OK ||
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK || status != 200) {
        fail("the POST of libcurl");
    }
    const char *start = strstr(answer->text, "\"access_token\":\"");
    if (start == NULL || sscanf(start, "\"access_token\":\"%4095[^\"]", token) != 1) {
        fail("reading the token");
    }
    __asm__ volatile("" : : "r"(token) : "memory");
}

static void curl_new_token(void) {
    struct answer answer;
    CURL *curl = new_curl(&answer);
    curl_token(curl, &answer);
    curl_easy_cleanup(curl);
}

/* Hits. */

static layerfi_client *shared;
static char text[4096];
static volatile size_t text_length;

static void copy(void) {
    char buffer[4096];
    size_t length = 0;
    if (layerfi_client_copy_authorization(shared, LAYERFI_DEFAULT, buffer, sizeof buffer, &length,
                                          NULL) != LAYERFI_RESULT_OK) {
        fail("layerfi_client_copy_authorization");
    }
    __asm__ volatile("" : : "r"(buffer) : "memory");
}

/* The minimum for copy(): a coarse clock, and a memcpy of the same number of bytes. */
static void copy_only(void) {
    char buffer[4096];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    memcpy(buffer, text, text_length);
    __asm__ volatile("" : : "r"(buffer), "r"(&now) : "memory");
}

static void memcpy_only(void) {
    char buffer[4096];
    memcpy(buffer, text, text_length);
    __asm__ volatile("" : : "r"(buffer) : "memory");
}

static void handle(void) {
    layerfi_token *token = token_of(shared);
    if (layerfi_token_authorization(token).len == 0) {
        fail("layerfi_token_authorization");
    }
    layerfi_token_free(token);
}

struct run {
    void (*call)(void);
    pthread_barrier_t *start;
    double started, ended;
};

static void *loop(void *argument) {
    struct run *run = argument;
    pthread_barrier_wait(run->start);
    run->started = now_us();
    for (int i = 0; i < HIT_CALLS; i++) {
        run->call();
    }
    run->ended = now_us();
    return NULL;
}

/* Nanoseconds per call of one thread, from the start of the first to the end of the last. */
static double nanos(void (*call)(void), unsigned threads) {
    pthread_t others[2];
    struct run runs[2];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        runs[i] = (struct run){call, &start, 0, 0};
        if (i > 0 && pthread_create(&others[i], NULL, loop, &runs[i]) != 0) {
            fail("pthread_create");
        }
    }
    loop(&runs[0]);
    double started = runs[0].started, ended = runs[0].ended;
    for (unsigned i = 1; i < threads; i++) {
        pthread_join(others[i], NULL);
        started = runs[i].started < started ? runs[i].started : started;
        ended = runs[i].ended > ended ? runs[i].ended : ended;
    }
    pthread_barrier_destroy(&start);
    return (ended - started) * 1e3 / HIT_CALLS;
}

static void hits(void) {
    shared = new_client();
    layerfi_token *token = token_of(shared);
    text_length = layerfi_token_authorization(token).len + 1;
    layerfi_token_free(token);
    for (int round = 0; round < HIT_ROUNDS; round++) {
        double one = nanos(copy_only, 1);
        value("c-floor-copy", one);
        value("c-floor-memcpy", nanos(memcpy_only, 1));
        value("c-threads-floor", 2 * one / nanos(copy_only, 2));
        one = nanos(copy, 1);
        value("c-hit-copy", one);
        value("c-threads-copy", 2 * one / nanos(copy, 2));
        value("c-hit-handle", nanos(handle, 1));
    }
    layerfi_client_free(shared);
}

/* The network. Each round: a new client's token, then tokens over its open connection. */
static void wire(void) {
    make_form();
    new_client_token(); /* reads the system's roots */
    for (int round = 0; round < WIRE_ROUNDS; round++) {
        double fresh[CLIENTS], warm[CLIENTS * RENEWALS], slept = 0;
        struct answer answer;
        CURL *curl = new_curl(&answer);
        curl_token(curl, &answer);
        for (int i = 0; i < CLIENTS * RENEWALS; i++) {
            double before = sleeps(), started = now_us();
            curl_token(curl, &answer);
            warm[i] = now_us() - started;
            slept += sleeps() - before;
        }
        curl_easy_cleanup(curl);
        value("c-floor-token", median(warm, CLIENTS * RENEWALS));
        value("c-floor-sleeps", slept / (CLIENTS * RENEWALS));

        slept = 0;
        for (int i = 0; i < CLIENTS; i++) {
            layerfi_client *client = new_client();
            layerfi_token *current = token_of(client);
            for (int j = 0; j < RENEWALS; j++) {
                layerfi_token *next = NULL;
                double before = sleeps(), started = now_us();
                if (layerfi_client_renew_token(client, current, LAYERFI_DEFAULT, &next, NULL) !=
                    LAYERFI_RESULT_OK) {
                    fail("layerfi_client_renew_token");
                }
                warm[i * RENEWALS + j] = now_us() - started;
                slept += sleeps() - before;
                layerfi_token_free(current);
                current = next;
            }
            layerfi_token_free(current);
            layerfi_client_free(client);
        }
        value("c-token", median(warm, CLIENTS * RENEWALS));
        value("c-sleeps", slept / (CLIENTS * RENEWALS));

        for (int i = 0; i < CLIENTS; i++) {
            double started = now_us();
            curl_new_token();
            fresh[i] = now_us() - started;
        }
        value("c-floor-new-client", median(fresh, CLIENTS));
        for (int i = 0; i < CLIENTS; i++) {
            double started = now_us();
            new_client_token();
            fresh[i] = now_us() - started;
        }
        value("c-new-client", median(fresh, CLIENTS));
    }
}

/* The process's very first token, and the memory that it adds. */
static void first(double started, bool ours) {
    double before = resident_mb();
    if (ours) {
        layerfi_client *client = new_client();
        layerfi_token_free(token_of(client));
        value("c-first", (now_us() - started) / 1e3);
        value("c-memory", resident_mb() - before);
        layerfi_client_free(client);
    } else {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        make_form();
        curl_new_token();
        value("c-floor-first", (now_us() - started) / 1e3);
        value("c-floor-memory", resident_mb() - before);
    }
}

int main(int count, char **arguments) {
    double started = now_us();
    const char *part = count > 1 ? arguments[1] : "";
    if (strcmp(part, "hits") == 0) {
        hits();
    } else if (strcmp(part, "wire") == 0) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        wire();
    } else if (strcmp(part, "first") == 0 || strcmp(part, "floor-first") == 0) {
        first(started, strcmp(part, "first") == 0);
    } else {
        fail("finding the part");
    }
    return 0;
}
