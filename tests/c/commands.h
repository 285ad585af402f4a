/* The commands that tests/c/vectors.c and tests/cpp/vectors.cpp read: one command
 * per line of standard input, with words separated by tabs. Each call is answered
 * with one line on standard output. A word is text with %XX for special
 * characters. ffi/tests/binding/vectors.rs sends the commands.
 *
 *   env NAME [VALUE]     sets or removes an environment variable
 *   from_env             makes the builder from environment variables
 *   set NAME VALUE       changes a setting of the builder; the first error is kept
 *   build                makes the client
 *   token CALLERS KEY    gets a token from several threads, and keeps it as KEY
 *   whoami CALLERS
 *   mint CALLERS BUSINESS SESSION_DURATION KEY
 *   business CALLERS BUSINESS SESSION_DURATION MIN_REMAINING KEY
 *   invalidate CALLERS KEY
 *   stats
 *   panic                panics in the library, in a call of the client
 *   end                  frees everything; the next case may begin
 *
 * `-` is the default of a number. Replies are `ok NAME=VALUE...` and
 * `error NAME=VALUE...`. Standard error has the library's log at the most detailed
 * level, as `log LEVEL MESSAGE`.
 */
#ifndef LAYERFI_TESTS_COMMANDS_H
#define LAYERFI_TESTS_COMMANDS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decodes %XX in place. */
static void decode(char *word) {
    char *out = word;
    while (*word != '\0') {
        if (*word == '%') {
            char digits[3] = {word[1], word[2], '\0'};
            *out++ = (char)strtol(digits, NULL, 16);
            word += 3;
        } else {
            *out++ = *word++;
        }
    }
    *out = '\0';
}

/* Reads the words of a line. Returns their number, or -1 at the end of the input. */
static int read_command(char *line, size_t capacity, char **words, int max_words) {
    if (fgets(line, (int)capacity, stdin) == NULL) {
        return -1;
    }
    line[strcspn(line, "\n")] = '\0';
    int count = 0;
    for (char *at = line; count < max_words;) {
        words[count++] = at;
        char *tab = strchr(at, '\t');
        if (tab == NULL) {
            break;
        }
        *tab = '\0';
        at = tab + 1;
    }
    for (int i = 0; i < count; i++) {
        decode(words[i]);
    }
    return count;
}

/* Prints ` NAME=VALUE`, with %XX for special characters. */
static void print_field(const char *name, const char *value, size_t length) {
    printf("\t%s=", name);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)value[i];
        if (c < ' ' || c > '~' || c == '%') {
            printf("%%%02X", c);
        } else {
            putchar(c);
        }
    }
}

#endif
