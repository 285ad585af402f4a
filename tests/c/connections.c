/* B8, B26: many clients and many calls at once in a process with few file descriptors, and the
 * time limit of a request of the program. */

#include "check.h"

#include <pthread.h>
#include <sys/resource.h>

#define CALLS 1500
#define CLIENTS 1500

static const layerfi_client *shared;
static pthread_barrier_t barrier;

static void *call(void *unused) {
    (void)unused;
    pthread_barrier_wait(&barrier);
    layerfi_whoami *whoami = NULL;
    CHECK_OK(layerfi_client_whoami(shared, LAYERFI_DEFAULT, &whoami, &error));
    layerfi_whoami_free(whoami);
    return NULL;
}

static void allow_1024_descriptors(void) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 1024;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* Clients with different settings share no connections. */
static void b26_1500_clients_need_few_descriptors(void) {
    allow_1024_descriptors();
    static layerfi_client *clients[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        layerfi_client_builder *builder = new_builder();
        char user_agent[32];
        snprintf(user_agent, sizeof user_agent, "program/%zu", i);
        CHECK_OK(layerfi_client_builder_set_user_agent(builder, user_agent, &error));
        CHECK_OK(layerfi_client_builder_build(builder, &clients[i], &error));
        layerfi_client_builder_free(builder);
        layerfi_token *token = NULL;
        CHECK_OK(layerfi_client_token(clients[i], LAYERFI_DEFAULT, &token, &error));
        layerfi_token_free(token);
    }
    CHECK(requests("token") == CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++) {
        layerfi_client_free(clients[i]);
    }
    post("/reset", "{}");
}

static void b26_1500_calls_at_once_need_few_descriptors(void) {
    allow_1024_descriptors();
    layerfi_client *client = new_client();
    shared = client;
    post("/settings", "{\"rate_limit\":null}");
    post("/faults", "{\"endpoint\":\"whoami\",\"delay_ms\":100,\"times\":\"forever\"}");
    pthread_attr_t small;
    CHECK(pthread_attr_init(&small) == 0);
    /* The default of musl, and more than a call needs. */
    CHECK(pthread_attr_setstacksize(&small, 128 * 1024) == 0);
    CHECK(pthread_barrier_init(&barrier, NULL, CALLS) == 0);
    static pthread_t threads[CALLS];
    for (size_t i = 0; i < CALLS; i++) {
        CHECK(pthread_create(&threads[i], &small, call, NULL) == 0);
    }
    for (size_t i = 0; i < CALLS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(requests("whoami") == CALLS);
    pthread_barrier_destroy(&barrier);
    pthread_attr_destroy(&small);
    layerfi_client_free(client);
    post("/reset", "{}");
}

static void b08_only_the_calls_timeout_limits_a_request_of_the_program(void) {
    layerfi_client_builder *builder = new_builder();
    CHECK_OK(layerfi_client_builder_set_attempt_timeout_ms(builder, 300, &error));
    CHECK_OK(layerfi_client_builder_set_max_attempts(builder, 1, &error));
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    /* The token's request has the attempt timeout, and tries again later after a failure. */
    layerfi_token *token = NULL;
    for (int tries = 0;
         layerfi_client_token(client, LAYERFI_DEFAULT, &token, NULL) != LAYERFI_RESULT_OK;
         tries++) {
        CHECK(tries < 60);
        sleep_ms(1000);
    }
    layerfi_token_free(token);
    post("/faults", "{\"endpoint\":\"whoami\",\"delay_ms\":1000,\"times\":2}");
    static const uint64_t minute = 60 * 1000;
    layerfi_response *response = NULL;
    CHECK_OK(layerfi_client_execute(client, "GET", "/whoami", NULL, 0, NULL, 0, minute, &response,
                                    &error));
    CHECK(layerfi_response_status(response) == 200);
    layerfi_response_free(response);
    layerfi_whoami *whoami = NULL;
    CHECK_RESULT(LAYERFI_RESULT_TIMEOUT, layerfi_client_whoami(client, minute, &whoami, &error));
    layerfi_client_free(client);
}

int main(void) {
    b26_1500_clients_need_few_descriptors();
    b26_1500_calls_at_once_need_few_descriptors();
    b08_only_the_calls_timeout_limits_a_request_of_the_program();
    puts("ok");
    return 0;
}
