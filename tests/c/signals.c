/* B28: signals stay with the program. The library's threads receive none. */
#include <signal.h>

#include "check.h"

/* SIGPIPE ends a C program by default. The server refuses a large upload and closes
 * the connection during it, at a moment that varies. */
static void a_closed_connection_does_not_end_the_program(void) {
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    layerfi_client *client = new_client();
    static const size_t size = 4 << 20;
    uint8_t *body = calloc(1, size);
    CHECK(body != NULL);
    for (int round = 0; round < 20; round++) {
        layerfi_response *response = NULL;
        layerfi_error *error = NULL;
        layerfi_result result =
            layerfi_client_execute(client, "POST", "/v1/businesses/" BUSINESS "/auth-token", NULL,
                                   0, body, size, LAYERFI_DEFAULT, &response, &error);
        CHECK(result == LAYERFI_RESULT_TRANSPORT ||
              (result == LAYERFI_RESULT_OK && layerfi_response_status(response) >= 400));
        layerfi_response_free(response);
        layerfi_error_free(error);
    }
    free(body);
    layerfi_client_free(client);
}

/* A program that blocks a signal receives it with sigwait, although the library's
 * thread already runs. */
static void a_blocked_signal_is_received(void) {
    layerfi_client *client = new_client();
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    sigset_t term, before;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    CHECK(pthread_sigmask(SIG_BLOCK, &term, &before) == 0);
    CHECK(sigismember(&before, SIGTERM) == 0);
    CHECK(kill(getpid(), SIGTERM) == 0);
    const struct timespec patience = {600, 0};
    CHECK(sigtimedwait(&term, NULL, &patience) == SIGTERM);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    layerfi_token_free(token);
    layerfi_client_free(client);
}

int main(void) {
    a_closed_connection_does_not_end_the_program();
    a_blocked_signal_is_received();
    puts("ok");
    return 0;
}
