/* A program that uses only the installed prefix. */
#include <stdio.h>

#include <layerfi_auth.h>

int main(void) {
    layerfi_client *client = NULL;
    layerfi_token *token = NULL;
    layerfi_error *error = NULL;
    if (layerfi_client_from_env(&client, &error) != LAYERFI_RESULT_OK ||
        layerfi_client_token(client, LAYERFI_DEFAULT, &token, &error) != LAYERFI_RESULT_OK) {
        fprintf(stderr, "%s\n", layerfi_error_display(error).data);
        layerfi_error_free(error);
        layerfi_client_free(client);
        return 1;
    }
    layerfi_token_free(token);
    layerfi_client_free(client);
    puts("ok");
    return 0;
}
