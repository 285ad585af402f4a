/* B26: a process that can start no thread or open no descriptor gets retryable errors,
 * and its calls work again as soon as the limit is lifted. Nothing is printed to standard
 * error: the test that runs this program checks that. */

/* First, because it defines _GNU_SOURCE. */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { MAX_FREE = 6, MAX_FILES = 4096, MAX_CHILDREN = 8, TIMEOUT_S = 60 };

typedef enum { THREADS, DESCRIPTORS } resource;
typedef enum { NOTHING, USED, FORKED } before;
typedef layerfi_result (*call)(layerfi_client *client, layerfi_error **error);

static char secret_file[64];

static layerfi_result token(layerfi_client *client, layerfi_error **error) {
    layerfi_token *token = NULL;
    layerfi_result result = layerfi_client_token(client, LAYERFI_DEFAULT, &token, error);
    layerfi_token_free(token);
    return result;
}

/* Waits for the token where it was prepared. */
static layerfi_result prepare(layerfi_client *client, layerfi_error **error) {
    layerfi_result result = layerfi_client_prepare(client, error);
    return result == LAYERFI_RESULT_OK ? token(client, error) : result;
}

static layerfi_result copy(layerfi_client *client, layerfi_error **error) {
    char buffer[4096];
    return layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, buffer, sizeof buffer, NULL,
                                             error);
}

static layerfi_result whoami(layerfi_client *client, layerfi_error **error) {
    layerfi_whoami *whoami = NULL;
    layerfi_result result = layerfi_client_whoami(client, LAYERFI_DEFAULT, &whoami, error);
    layerfi_whoami_free(whoami);
    return result;
}

static layerfi_result execute(layerfi_client *client, layerfi_error **error) {
    layerfi_response *response = NULL;
    layerfi_result result = layerfi_client_execute(client, "GET", "/whoami", NULL, 0, NULL, 0,
                                                   LAYERFI_DEFAULT, &response, error);
    layerfi_response_free(response);
    return result;
}

static layerfi_result business_token(layerfi_client *client, layerfi_error **error) {
    layerfi_business_token *token = NULL;
    layerfi_result result = layerfi_client_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT,
                                                          LAYERFI_DEFAULT, &token, error);
    layerfi_business_token_free(token);
    return result;
}

static layerfi_result batch(layerfi_client *client, layerfi_error **error) {
    const char *ids[] = {BUSINESS};
    layerfi_business_tokens *tokens = NULL;
    layerfi_result result = layerfi_client_business_tokens(
        client, ids, 1, 3600, LAYERFI_DEFAULT, LAYERFI_DEFAULT, NULL, NULL, &tokens, error);
    if (result == LAYERFI_RESULT_OK) {
        layerfi_business_token *token = NULL;
        result = layerfi_business_tokens_get(tokens, 0, &token, error);
        layerfi_business_token_free(token);
    }
    layerfi_business_tokens_free(tokens);
    return result;
}

static bool give_credentials(void *userdata, layerfi_credentials *credentials) {
    (void)userdata;
    return layerfi_credentials_set(credentials, getenv("LAYER_CLIENT_ID"),
                                   getenv("LAYER_CLIENT_SECRET"), NULL) == LAYERFI_RESULT_OK;
}

/* Different functions, because their clients have different sources of credentials. */
static layerfi_result with_callback(layerfi_client *client, layerfi_error **error) {
    return token(client, error);
}

static layerfi_result with_secret_file(layerfi_client *client, layerfi_error **error) {
    return whoami(client, error);
}

static const struct {
    const char *name;
    call call;
} CALLS[] = {
    {"token", token},
    {"prepare", prepare},
    {"copy_authorization", copy},
    {"whoami", whoami},
    {"execute", execute},
    {"business_token", business_token},
    {"business_tokens", batch},
    {"credentials callback", with_callback},
    {"secret file", with_secret_file},
};

static layerfi_client *client_for(call call) {
    layerfi_client_builder *builder = new_builder();
    CHECK_OK(layerfi_client_builder_set_max_attempts(builder, 1, &error));
    if (call == with_callback) {
        CHECK_OK(layerfi_client_builder_set_credentials_callback(builder, give_credentials, NULL,
                                                                 NULL, &error));
    }
    if (call == with_secret_file) {
        CHECK_OK(layerfi_client_builder_set_client_secret_file(builder, secret_file, &error));
    }
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    return client;
}

/* The number of entries of a directory, without `.` and `..`; 0 if it cannot be read. If
 * `highest` is not NULL, it gets the highest number among the names. */
static long entries(const char *path, long *highest) {
    long count = 0;
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] != '.') {
            long number = strtol(entry->d_name, NULL, 10);
            if (highest != NULL && number > *highest) {
                *highest = number;
            }
            count++;
        }
    }
    closedir(directory);
    return count;
}

static long threads_of_this_user(void) {
    long count = 0;
    DIR *processes = opendir("/proc");
    CHECK(processes != NULL);
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        char path[300];
        struct stat status;
        long number = strtol(entry->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/%ld", number);
        if (number > 0 && stat(path, &status) == 0 && status.st_uid == getuid()) {
            snprintf(path, sizeof path, "/proc/%ld/task", number);
            count += entries(path, NULL);
        }
    }
    closedir(processes);
    return count;
}

static int limited_resource(resource resource) {
    return resource == THREADS ? RLIMIT_NPROC : RLIMIT_NOFILE;
}

static struct rlimit limits_before;
static int files[MAX_FILES];
static int file_count;

static void set_limit(resource resource, long limit) {
    CHECK(getrlimit(limited_resource(resource), &limits_before) == 0);
    struct rlimit limits = {(rlim_t)limit, limits_before.rlim_max};
    CHECK(setrlimit(limited_resource(resource), &limits) == 0);
}

/* Leaves the process this many threads or descriptors. */
static void take(resource resource, int left) {
    if (resource == THREADS) {
        set_limit(resource, threads_of_this_user() + left);
        return;
    }
    long highest = 2;
    entries("/proc/self/fd", &highest);
    set_limit(resource, highest + 1 + left);
    for (file_count = 0; file_count < MAX_FILES; file_count++) {
        files[file_count] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (files[file_count] < 0) {
            break;
        }
    }
    for (int i = 0; i < left; i++) {
        close(files[--file_count]);
    }
}

static void give_back(resource resource) {
    CHECK(setrlimit(limited_resource(resource), &limits_before) == 0);
    while (file_count > 0) {
        close(files[--file_count]);
    }
}

/* Makes a call, which must succeed or fail with a retryable error. */
static bool succeeds(call call, layerfi_client *client) {
    layerfi_error *error = NULL;
    layerfi_result result = call(client, &error);
    if (result == LAYERFI_RESULT_OK) {
        return true;
    }
    bool expected = result == LAYERFI_RESULT_TRANSPORT || result == LAYERFI_RESULT_CREDENTIALS;
    if (!expected || !layerfi_error_is_retryable(error)) {
        fprintf(stderr, "%s: %s\n", layerfi_result_name(result).data,
                layerfi_error_display(error).data);
        _exit(1);
    }
    layerfi_error_free(error);
    return false;
}

static void check_call(resource resource, call call, int left) {
    layerfi_client *client = client_for(call);
    take(resource, left);
    /* More than once: no failure may be remembered as permanent. */
    succeeds(call, client);
    if (left == 0) {
        succeeds(call, client);
    }
    give_back(resource);
    double until = now_s() + TIMEOUT_S;
    while (!succeeds(call, client)) {
        CHECK(now_s() < until);
        sleep_ms(10);
    }
    layerfi_client_free(client);
}

static void *nothing(void *unused) {
    return unused;
}

/* Becomes a user of its own: the limit on threads applies to all processes of a user, and
 * not to root. */
static void become_another_user(void) {
    if (getuid() == 0) {
        uid_t user = 20000 + (uid_t)getpid() % 40000;
        CHECK(setresuid(user, user, user) == 0);
        CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
    }
}

static void wait_for(pid_t child) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        _exit(1);
    }
}

static void run(resource resource, call call, before before, int left) {
    alarm(4 * TIMEOUT_S);
    become_another_user();
    if (resource == THREADS) {
        pthread_t thread;
        take(THREADS, 0);
        /* Otherwise the limit on threads has no effect. */
        CHECK(pthread_create(&thread, NULL, nothing, NULL) != 0);
        give_back(THREADS);
    }
    /* Its connection is kept, and so gives no descriptor back. */
    layerfi_client *used = client_for(token);
    if (before != NOTHING) {
        layerfi_error *error = NULL;
        CHECK(whoami(used, &error) == LAYERFI_RESULT_OK);
    }
    if (before == FORKED) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            check_call(resource, call, left);
            _exit(0);
        }
        wait_for(child);
    } else {
        check_call(resource, call, left);
    }
    layerfi_client_free(used);
}

/* Replaces the address in a variable by a name, so that the client looks names up. */
static void use_a_name(const char *variable) {
    static const char address[] = "127.0.0.1";
    const char *url = getenv(variable);
    CHECK(url != NULL);
    const char *at = strstr(url, address);
    CHECK(at != NULL);
    char named[256];
    snprintf(named, sizeof named, "%.*slocalhost%s", (int)(at - url), url, at + strlen(address));
    CHECK(setenv(variable, named, 1) == 0);
}

static void write_secret_file(void) {
    snprintf(secret_file, sizeof secret_file, "/tmp/layerfi-scarcity-%ld", (long)getpid());
    const char *secret = getenv("LAYER_CLIENT_SECRET");
    CHECK(secret != NULL);
    int file = open(secret_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    CHECK(file >= 0);
    CHECK(write(file, secret, strlen(secret)) == (ssize_t)strlen(secret));
    close(file);
}

static int failures;

static void wait_for_one(void) {
    int status = 0;
    CHECK(wait(&status) > 0);
    if (status != 0) {
        failures++;
    }
}

int main(void) {
    use_a_name("LAYER_API_URL");
    use_a_name("LAYER_AUTH_URL");
    write_secret_file();
    /* Processes of one user change each other's number of threads. */
    int most = getuid() == 0 ? MAX_CHILDREN : 1;
    int running = 0;
    for (resource resource = THREADS; resource <= DESCRIPTORS; resource++) {
        for (size_t i = 0; i < sizeof CALLS / sizeof CALLS[0]; i++) {
            for (before before = NOTHING; before <= FORKED; before++) {
                for (int left = 0; left <= MAX_FREE; left++) {
                    if (running == most) {
                        wait_for_one();
                        running--;
                    }
                    pid_t child = fork();
                    CHECK(child >= 0);
                    if (child == 0) {
                        run(resource, CALLS[i].call, before, left);
                        _exit(0);
                    }
                    running++;
                }
            }
        }
    }
    for (; running > 0; running--) {
        wait_for_one();
    }
    unlink(secret_file);
    CHECK(failures == 0);
    puts("ok");
    return 0;
}
