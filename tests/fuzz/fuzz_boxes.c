/* edge/boxes: what is whole only grows, is never more than there is, and does not depend on pieces.
 * The first byte says how long those are. */
#include "core/check.h"
#include "edge/boxes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct boxes all = { 0 }, some = { 0 };
    size_t step = size > 0 ? data[0] + 1u : 1;
    uint64_t whole, last = 0;

    if (size == 0)
        return 0;
    data++;
    size--;
    whole = boxes_feed(&all, data, size);
    CHECK(whole <= size);
    for (size_t at = 0; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        uint64_t now = boxes_feed(&some, data + at, n);

        CHECK(now >= last && now <= at + n);
        last = now;
    }
    CHECK(last == whole);
    return 0;
}
