/* The language of tests/c/vectors.c and tests/cpp/vectors.cpp: one order per
 * line on standard input, words separated by tabs, one answer per line for each
 * call. A word is text with %XX for what is not plain. The driver, which knows
 * the shared table, is ffi/tests/face/vectors.rs.
 *
 *   set NAME VALUE       a setting of the builder; the first refusal is kept
 *   build                makes the client
 *   token CALLERS KEY    answers are kept under KEY
 *   whoami CALLERS
 *   mint CALLERS BUSINESS SESSION_DURATION KEY
 *   business CALLERS BUSINESS SESSION_DURATION MIN_REMAINING KEY
 *   invalidate CALLERS KEY
 *   stats
 *   panic                panics in the library, on a client at work
 *   end                  frees everything; the next case may begin
 *
 * `-` stands for a number that is not given. Answers: `ok NAME=VALUE...`,
 * `error NAME=VALUE...`. On standard error goes what the library logs, at the
 * most verbose level, as `log LEVEL MESSAGE`.
 */
#ifndef LAYERFI_TESTS_FACE_H
#define LAYERFI_TESTS_FACE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Undoes %XX in place. */
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

/* Reads a line's words; their number, or -1 at the end. */
static int read_order(char *line, size_t capacity, char **words, int most) {
    if (fgets(line, (int)capacity, stdin) == NULL) {
        return -1;
    }
    line[strcspn(line, "\n")] = '\0';
    int count = 0;
    for (char *at = line; count < most;) {
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

/* Writes ` NAME=VALUE`, with %XX for what is not plain. */
static void say(const char *name, const char *value, size_t length) {
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
