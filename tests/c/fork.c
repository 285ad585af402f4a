/* B13: a client that was used before a fork() works in the child, without a hang,
 * without a shared connection, and without a request while the token is valid. The
 * parent is not affected. */

/* First, because it defines _GNU_SOURCE. */
#include "check.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static layerfi_client *client;

/* `fork()`, or the system call below it, which runs no handlers of `pthread_atfork`. */
static bool without_handlers;

static pid_t fork_once(void) {
    return without_handlers ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
}

/* Runs `body` in a child, which must end without an error. It is killed if it hangs. */
static void in_child(void (*body)(void)) {
    fflush(NULL);
    if (is_slow() || without_handlers) {
        /* The background thread becomes idle; see main(). A lock of the allocator that it
         * holds would stay locked in the child of a raw clone, too. */
        sleep_ms(30);
    }
    pid_t child = fork_once();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(600);
        body();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "the child ended with status %#x\n", (unsigned)status);
        _exit(1);
    }
}

static char parents_token[4096];

static void token_is_the_parents(void) {
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    CHECK(is(layerfi_token_secret(token), parents_token));
    char copy[4096];
    CHECK_OK(layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, copy, sizeof copy, NULL,
                                               &error));
    CHECK(is(layerfi_token_authorization(token), copy));
    layerfi_token_free(token);
}

static void whoami(void) {
    layerfi_whoami *whoami = NULL;
    CHECK_OK(layerfi_client_whoami(client, LAYERFI_DEFAULT, &whoami, &error));
    CHECK(layerfi_whoami_client_id(whoami).len == 36);
    layerfi_whoami_free(whoami);
}

static void get_token(void) {
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    layerfi_token_free(token);
}

static void everything(void) {
    token_is_the_parents();
    whoami();
    layerfi_business_token *business = NULL;
    CHECK_OK(layerfi_client_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                           &business, &error));
    layerfi_business_token_free(business);
    /* A child of the child. */
    in_child(whoami);
    layerfi_token *token = NULL, *fresh = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    bool invalidated = false;
    CHECK_OK(layerfi_client_invalidate(client, token, &invalidated, &error));
    CHECK(invalidated);
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &fresh, &error));
    CHECK(!is(layerfi_token_secret(fresh), parents_token));
    layerfi_token_free(token);
    layerfi_token_free(fresh);
}

static void free_it(void) {
    layerfi_client_free(client);
}

static void new_one(void) {
    layerfi_client *other = new_client();
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(other, LAYERFI_DEFAULT, &token, &error));
    layerfi_token_free(token);
    layerfi_client_free(other);
}

/* Ends with exit handlers, as a program does. */
static void exit_normally(void) {
    whoami();
    fflush(NULL);
    exit(0);
}

static void b13_client_works_in_the_child_after_use(void) {
    client = new_client();
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    snprintf(parents_token, sizeof parents_token, "%s", layerfi_token_secret(token).data);
    whoami();
    long tokens = requests("token"), whoamis = requests("whoami");
    in_child(token_is_the_parents);
    CHECK(requests("token") == tokens && requests("whoami") == whoamis);
    in_child(whoami);
    CHECK(requests("token") == tokens && requests("whoami") == whoamis + 1);
    in_child(everything);
    in_child(free_it);
    in_child(new_one);
    if (!is_slow()) {
        /* The child does not free the parent's runtime, which a leak checker
         * reports. */
        in_child(exit_normally);
    }
    /* The parent is not affected. */
    token_is_the_parents();
    whoami();
    layerfi_token_free(token);
    layerfi_client_free(client);
}

/* In the parent and in each child, a token that was prepared arrives without a call that
 * needs one. */
static void prepare(void) {
    layerfi_stats stats;
    CHECK_OK(layerfi_client_prepare(client, &error));
    do {
        sleep_ms(1);
        CHECK_OK(layerfi_client_stats(client, &stats, sizeof stats, &error));
    } while (stats.expires_at_ms < 0);
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_try_token(client, &token, &error));
    layerfi_token_free(token);
}

/* The parent's request is held while the child sends its own. */
static void b13_child_prepares_anew(void) {
    client = new_client();
    post("/faults", "{\"endpoint\":\"token\",\"hold\":true}");
    long before = requests("token");
    CHECK_OK(layerfi_client_prepare(client, &error));
    while (requests("token") == before) {
        sleep_ms(1);
    }
    in_child(prepare);
    CHECK(requests("token") == before + 2);
    post("/release", "{}");
    prepare();
    /* There is a token. */
    in_child(prepare);
    CHECK(requests("token") == before + 2);
    layerfi_client_free(client);
}

static void b13_client_works_in_the_child_before_use(void) {
    client = new_client();
    in_child(get_token);
    in_child(whoami);
    get_token();
    whoami();
    layerfi_client_free(client);
}

/* The child is not told that it is one. */
static void b13_client_works_in_the_child_of_a_raw_clone(void) {
    without_handlers = true;
    b13_client_works_in_the_child_before_use();
    b13_client_works_in_the_child_after_use();
    b13_child_prepares_anew();
    without_handlers = false;
}

/* For b13_fork_from_many_threads(): threads use the client while another thread forks. */
static int stop;

static void *use(void *number) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        layerfi_token *token = NULL;
        CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
        if (*(int *)number % 2 == 0) {
            whoami();
        } else {
            layerfi_business_token *business = NULL;
            CHECK_OK(layerfi_client_mint_business_token(client, BUSINESS, 60, LAYERFI_DEFAULT,
                                                        &business, &error));
            layerfi_business_token_free(business);
            CHECK_OK(layerfi_client_invalidate(client, token, NULL, &error));
        }
        layerfi_token_free(token);
    }
    return NULL;
}

static void use_in_child(void) {
    get_token();
    whoami();
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    CHECK_OK(layerfi_client_invalidate(client, token, NULL, &error));
    layerfi_token_free(token);
    get_token();
    in_child(whoami);
}

static void take_log(void *userdata, uint32_t level, layerfi_str message) {
    (void)userdata;
    (void)level;
    CHECK(message.len > 0);
}

static void b13_fork_from_many_threads(void) {
    post("/settings", "{\"rate_limit\":null}");
    CHECK_OK(layerfi_set_log_callback(take_log, NULL, LAYERFI_LOG_LEVEL_TRACE, &error));
    client = new_client();
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, use, &numbers[i]) == 0);
    }
    int forks = is_slow() ? 10 : 60;
    for (int i = 0; i < forks; i++) {
        in_child(use_in_child);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK_OK(layerfi_set_log_callback(NULL, NULL, 0, &error));
    get_token();
    whoami();
    layerfi_client_free(client);
}

int main(void) {
    const char *mode = getenv("LAYERFI_TEST_MODE");
    b13_client_works_in_the_child_before_use();
    b13_client_works_in_the_child_after_use();
    b13_child_prepares_anew();
    if (!is_slow()) {
        /* Sanitizers and valgrind handle only fork(). */
        b13_client_works_in_the_child_of_a_raw_clone();
    }
    /* The allocator of AddressSanitizer (gcc 12) does not handle forks: an internal
     * lock that another thread holds stays locked in the child. This part runs plain
     * and under valgrind. */
    if (mode == NULL || strcmp(mode, "Address") != 0) {
        b13_fork_from_many_threads();
    }
    puts("ok");
    return 0;
}
