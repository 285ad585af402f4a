/* When client and token are freed, no copy of the token is left in memory that
 * the library had: the heap, and the anonymous mappings that large blocks lie in. */
#include "check.h"

/* The token as it must not be found: each byte the other way round. */
static unsigned char wanted[64];

static void remember(layerfi_str secret) {
    /* From its signature's end, which no other token shares. */
    CHECK(secret.len > sizeof wanted);
    const char *end = secret.data + secret.len - sizeof wanted;
    for (size_t i = 0; i < sizeof wanted; i++) {
        wanted[i] = (unsigned char)~(unsigned char)end[i];
    }
}

static int is_wanted(const unsigned char *at) {
    for (size_t i = 0; i < sizeof wanted; i++) {
        if (at[i] != (unsigned char)~wanted[i]) {
            return 0;
        }
    }
    return 1;
}

/* How often it is in memory that may be written. */
static int count(void) {
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    char line[1024];
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long from = 0, to = 0;
        char rights[5], path[900] = "";
        CHECK(sscanf(line, "%lx-%lx %4s %*s %*s %*s %899[^\n]", &from, &to, rights, path) >= 3);
        if (rights[0] != 'r' || rights[1] != 'w' || (path[0] != '\0' && strcmp(path, "[heap]"))) {
            continue;
        }
        /* Looked at in place: a copy would be one more. */
        const unsigned char *at = NULL;
        memcpy(&at, &from, sizeof at);
        for (size_t i = 0; i + sizeof wanted <= to - from; i++) {
            if (at[i] == (unsigned char)~wanted[0] && is_wanted(at + i)) {
                found++;
            }
        }
    }
    fclose(maps);
    return found;
}

int main(void) {
    layerfi_client *client = new_client();
    layerfi_token *token = NULL;
    CHECK_OK(layerfi_client_token(client, 0, &token, &error));
    remember(layerfi_token_secret(token));
    layerfi_whoami *whoami = NULL;
    CHECK_OK(layerfi_client_whoami(client, 0, &whoami, &error));
    layerfi_whoami_free(whoami);
    CHECK(count() > 0);
    layerfi_token_free(token);
    layerfi_client_free(client);
    /* The background thread closes its connections a moment later. */
    double started = now_s();
    while (count() > 0) {
        sleep_ms(20);
        CHECK(now_s() - started < 20);
    }
    puts("ok");
    return 0;
}
