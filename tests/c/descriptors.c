/* B25: a program that closes all its file descriptors, as a daemon does, goes on to get
 * tokens. The numbers of the library's descriptors belong to files of the program then:
 * nothing is written to them, and they are not closed. Nothing is printed to standard
 * error: the test that runs this program checks that. */

/* First, because it defines _GNU_SOURCE. */
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { FIRST = 3, LAST = 200, KEPT = LAST + 1, OTHER_END = LAST + 2, ROUNDS = 3 };

static void whoami(layerfi_client *client) {
    layerfi_whoami *whoami = NULL;
    CHECK_OK(layerfi_client_whoami(client, LAYERFI_DEFAULT, &whoami, &error));
    layerfi_whoami_free(whoami);
}

static void every_call(layerfi_client *client) {
    layerfi_token *token = NULL, *fresh = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    CHECK_OK(layerfi_client_invalidate(client, token, NULL, &error));
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &fresh, &error));
    layerfi_token_free(token);
    layerfi_token_free(fresh);
    whoami(client);
    layerfi_business_token *business = NULL;
    CHECK_OK(layerfi_client_mint_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT, &business,
                                                &error));
    layerfi_business_token_free(business);
    const char *ids[] = {BUSINESS, "00000000-0000-4000-8000-000000000001"};
    layerfi_business_tokens *tokens = NULL;
    CHECK_OK(layerfi_client_business_tokens(client, ids, 2, 3600, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                            NULL, NULL, &tokens, &error));
    layerfi_business_tokens_free(tokens);
}

/* What the library's threads have done: the sum of the numbers of times that they were
 * woken, or -1 while one runs. */
static long activity(void) {
    long sum = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], line[200];
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *status = fopen(path, "r");
        bool is_library = false;
        while (status != NULL && fgets(line, sizeof line, status) != NULL) {
            long count = 0;
            is_library |= strncmp(line, "Name:\tlayerfi", 13) == 0;
            if (is_library && strncmp(line, "State:\t", 7) == 0 && line[7] != 'S') {
                sum = LONG_MIN / 2;
            } else if (is_library && sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1) {
                sum += count;
            }
        }
        if (status != NULL) {
            fclose(status);
        }
    }
    closedir(tasks);
    return sum < 0 ? -1 : sum;
}

/* Waits until the library's threads sleep: what they send in the instant of the closing
 * could reach the file that gets the number. */
static void wait_until_idle(void) {
    for (long before = -1, now; (now = activity()) < 0 || now != before; before = now) {
        sleep_ms(50);
    }
}

/* As `closefrom`: in one system call where the kernel has one. */
static void close_numbers(unsigned first, unsigned last) {
    if (syscall(SYS_close_range, first, last, 0) != 0) {
        for (unsigned number = first; number <= last; number++) {
            close((int)number);
        }
    }
}

/* Gives the numbers of all descriptors but the standard streams to a socket. */
static void close_and_take_all(void) {
    wait_until_idle();
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    CHECK(dup2(ends[0], KEPT) == KEPT && dup2(ends[1], OTHER_END) == OTHER_END);
    close_numbers(FIRST, LAST);
    for (int number = FIRST; number <= LAST / 2; number++) {
        CHECK(dup2(KEPT, number) == number);
    }
}

/* Nobody has written to these numbers, or closed one. */
static void check_taken(void) {
    char byte;
    CHECK(recv(OTHER_END, &byte, 1, 0) == -1 && errno == EAGAIN);
    struct stat own, found;
    CHECK(fstat(KEPT, &own) == 0);
    for (int number = FIRST; number <= LAST / 2; number++) {
        CHECK(fstat(number, &found) == 0 && found.st_ino == own.st_ino);
    }
}

static void release_all(void) {
    check_taken();
    for (int number = FIRST; number <= LAST / 2; number++) {
        close(number);
    }
    close(KEPT);
    close(OTHER_END);
}

/* A call that waits while the descriptors are closed. */
static void *waits(void *client) {
    layerfi_error *error = NULL;
    layerfi_whoami *whoami = NULL;
    layerfi_result result = layerfi_client_whoami(client, LAYERFI_DEFAULT, &whoami, &error);
    CHECK(result == LAYERFI_RESULT_TRANSPORT && layerfi_error_is_retryable(error));
    CHECK(strstr(layerfi_error_message(error).data, "closed this library's file descriptors"));
    layerfi_error_free(error);
    return NULL;
}

static void in_flight(void) {
    layerfi_client *client = new_client();
    whoami(client);
    long before = requests("whoami");
    post("/faults", "{\"endpoint\":\"whoami\",\"hold\":true}");
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, waits, client) == 0);
    while (requests("whoami") == before) {
        sleep_ms(1);
    }
    close_and_take_all();
    /* It does not wait for its timeout of minutes: this call finds out. */
    whoami(client);
    CHECK(pthread_join(thread, NULL) == 0);
    layerfi_client_free(client);
    release_all();
}

int main(void) {
    alarm(300);
    for (int round = 0; round < ROUNDS; round++) {
        layerfi_client *client = new_client();
        every_call(client);
        close_and_take_all();
        every_call(client);
        check_taken();
        /* Again, so that the numbers of the library's new descriptors are closed too. */
        close_numbers(LAST / 2 + 1, LAST);
        /* Not used again: its connections are not its own any more. */
        layerfi_client_free(client);
        sleep_ms(100);
        release_all();
    }
    in_flight();
    return 0;
}
