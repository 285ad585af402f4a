/* B20: uses secrets and frees them, while ffi/tests/binding/memory.rs searches its
 * memory.
 *
 *   memory file     the library reads the secret from LAYER_CLIENT_SECRET_FILE
 *   memory stdin    the secret is the first line of standard input
 *
 * Prints `working PID`, with the id of a child process, while the secrets are in
 * use. After the next line of input it frees everything and prints `freed`. */
#include "check.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

/* Reads a line without a buffer that keeps a copy. */
static void read_line(char *line, size_t capacity) {
    size_t length = 0;
    while (read(STDIN_FILENO, line + length, 1) == 1 && line[length] != '\n') {
        CHECK(++length < capacity);
    }
    line[length] = '\0';
}

static void print_line(const char *line) {
    puts(line);
    fflush(stdout);
}

static layerfi_client *build(const char *from) {
    layerfi_client_builder *builder = new_builder();
    if (strcmp(from, "stdin") == 0) {
        char secret[256];
        read_line(secret, sizeof secret);
        CHECK(secret[0] != '\0');
        CHECK_OK(layerfi_client_builder_set_client_secret(builder, secret, &error));
        explicit_bzero(secret, sizeof secret);
    }
    layerfi_client *client = NULL;
    CHECK_OK(layerfi_client_builder_build(builder, &client, &error));
    layerfi_client_builder_free(builder);
    return client;
}

/* Starts a program that ends when `end`, the write end of its input, is closed. It
 * inherits only the first three descriptors. */
static pid_t start_child(int *end) {
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO) == 0);
    char *const arguments[] = {"cat", NULL};
    extern char **environ;
    pid_t child = 0;
    CHECK(posix_spawnp(&child, "cat", &actions, NULL, arguments, environ) == 0);
    CHECK(posix_spawn_file_actions_destroy(&actions) == 0);
    close(ends[0]);
    *end = ends[1];
    return child;
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    layerfi_client *client = build(arguments[1]);
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error));
    layerfi_whoami *whoami = NULL;
    CHECK_OK(layerfi_client_whoami(client, LAYERFI_DEFAULT, &whoami, &error));
    layerfi_business_token *business_token = NULL;
    CHECK_OK(layerfi_client_mint_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT,
                                                &business_token, &error));
    layerfi_business_token *kept = NULL;
    CHECK_OK(layerfi_client_business_token(client, BUSINESS, 3600, LAYERFI_DEFAULT, LAYERFI_DEFAULT,
                                           &kept, &error));
    layerfi_response *response = NULL;
    CHECK_OK(layerfi_client_execute(client, "GET", "/v1/businesses/" BUSINESS, NULL, 0, NULL, 0,
                                    LAYERFI_DEFAULT, &response, &error));
    layerfi_json *json = NULL, *props = NULL;
    CHECK_OK(layerfi_business_token_json(kept, &json, &error));
    CHECK_OK(layerfi_business_token_layer_provider_props_json(kept, NULL, &props, &error));
    char copy[4096];
    CHECK_OK(layerfi_client_copy_authorization(client, LAYERFI_DEFAULT, copy, sizeof copy, NULL,
                                               &error));

    int end = -1;
    pid_t child = start_child(&end);
    printf("working %d\n", (int)child);
    fflush(stdout);
    char line[16];
    read_line(line, sizeof line);
    close(end);
    CHECK(waitpid(child, NULL, 0) == child);

    explicit_bzero(copy, sizeof copy);
    layerfi_json_free(props);
    layerfi_json_free(json);
    layerfi_response_free(response);
    layerfi_business_token_free(kept);
    layerfi_business_token_free(business_token);
    layerfi_whoami_free(whoami);
    layerfi_token_free(token);
    layerfi_client_free(client);
    print_line("freed");
    read_line(line, sizeof line);
    return 0;
}
