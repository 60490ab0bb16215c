/* Whatever a JSON library takes for an object without repeated or escaped keys, the scanner walks to
 * its end with the same members. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/jscan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *tree = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    struct jscan s = jscan_init((const char *)data, size);
    struct jscan_member m;
    size_t members = 0;
    int64_t v;
    char text[64];
    enum st st;

    while ((st = jscan_next(&s, &m)) == ST_OK) {
        json_t *same = json_is_object(tree) ? json_object_getn(tree, m.key, m.key_n) : NULL;

        members++;
        if (jscan_int(&m, &v) && same != NULL)
            CHECK(json_is_integer(same) && json_integer_value(same) == v);
        if (jscan_text(&m, text, sizeof text) && same != NULL)
            CHECK(json_is_string(same) && strcmp(json_string_value(same), text) == 0);
        CHECK(same == NULL || json_is_object(same) == jscan_is_object(&m));
    }
    /* jansson passes over zero bytes between tokens */
    if (json_is_object(tree) && memchr(data, '\\', size) == NULL &&
        memchr(data, '\0', size) == NULL && st != ST_ELIMIT)
        CHECK(st == ST_EOF && members == json_object_size(tree));
    json_decref(tree);
    return 0;
}
