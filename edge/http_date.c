#include "edge/http_date.h"

#include "core/check.h"

#define DAY_S 86400
#define ERA_DAYS 146097   /* 400 years */
#define EPOCH_DAYS 719468 /* 0000-03-01 to 1970-01-01 */

static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* Years begin in March here, so that the day a leap year adds is the last one. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year, m = (month + 9) % 12;

    return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - EPOCH_DAYS;
}

static int64_t month_days(int64_t year, int64_t month)
{
    static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return days[month - 1] + (month == 2 && leap);
}

struct fields {
    int64_t year, month, day, hour, minute, second;
};

/* Matches s against a picture: D a digit of the day, Y year, h m s; NNN a month's name, ddd a day's
 * name, _ a space or a digit of the day; the rest stands for itself. */
static bool match(struct slice s, const char *picture, struct fields *f)
{
    size_t n = strlen(picture);

    *f = (struct fields){ .year = 0 };
    if (s.n != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int64_t *number = NULL;
        uint8_t c = s.p[i];
        const char *names = picture[i] == 'd' ? day_names : month_names;

        switch (picture[i]) {
        case '_':
            if (c == ' ')
                continue;
            number = &f->day;
            break;
        case 'D':
            number = &f->day;
            break;
        case 'Y':
            number = &f->year;
            break;
        case 'h':
            number = &f->hour;
            break;
        case 'm':
            number = &f->minute;
            break;
        case 's':
            number = &f->second;
            break;
        case 'd':
        case 'N':
            for (size_t k = 0; names[k] != '\0' && f->month == 0; k += 3) {
                if (memcmp(names + k, s.p + i, 3) == 0)
                    f->month = (int64_t)k / 3 + 1;
            }
            if (f->month == 0)
                return false;
            if (picture[i] == 'd')
                f->month = 0;
            i += 2;
            continue;
        default:
            if (c != (uint8_t)picture[i])
                return false;
            continue;
        }
        if (!is_digit(c))
            return false;
        *number = *number * 10 + (c - '0');
    }
    return true;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT": the long day name has no fixed width. */
static bool match_rfc850(struct slice s, int64_t now_s, struct fields *f)
{
    static const char *const days[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday" };

    for (size_t i = 0; i < 7; i++) {
        size_t n = strlen(days[i]);

        if (s.n > n && memcmp(s.p, days[i], n) == 0) {
            int64_t this_year = 1970 + now_s / (DAY_S * 1461 / 4);

            if (!match(slice_of(s.p + n, s.n - n), ", DD-NNN-YY hh:mm:ss GMT", f))
                return false;
            /* more than 50 years ahead means the past */
            f->year += this_year - this_year % 100;
            if (f->year > this_year + 50)
                f->year -= 100;
            else if (f->year <= this_year - 50)
                f->year += 100;
            return true;
        }
    }
    return false;
}

bool http_date_parse(struct slice s, int64_t now_s, int64_t *out)
{
    struct fields f;

    if (!match(s, "ddd, DD NNN YYYY hh:mm:ss GMT", &f) &&
        !match(s, "ddd NNN _D hh:mm:ss YYYY", &f) && !match_rfc850(s, now_s, &f))
        return false;
    if (f.year < 1 || f.day < 1 || f.day > month_days(f.year, f.month) || f.hour > 23 ||
        f.minute > 59 || f.second > 60)
        return false;
    *out = days_of(f.year, f.month, f.day) * DAY_S + f.hour * 3600 + f.minute * 60 + f.second;
    return true;
}

static void put_number(char *at, int64_t v, int digits)
{
    for (int i = digits - 1; i >= 0; i--, v /= 10)
        at[i] = (char)('0' + v % 10);
}

void http_date_format(int64_t unix_s, char out[HTTP_DATE_LEN])
{
    int64_t second = unix_s % DAY_S, day = unix_s / DAY_S, era, year, month;

    if (second < 0) {
        second += DAY_S;
        day--;
    }
    memcpy(out, "ddd, DD MMM YYYY hh:mm:ss GMT", HTTP_DATE_LEN);
    memcpy(out, day_names + ((day + 4) % 7 + 7) % 7 * 3, 3); /* the epoch was a Thursday */
    day += EPOCH_DAYS;
    CHECK(day >= 0);
    era = day / ERA_DAYS;
    day %= ERA_DAYS;
    year = (day - day / 1460 + day / 36524 - day / (ERA_DAYS - 1)) / 365;
    day -= year * 365 + year / 4 - year / 100;
    month = (day * 5 + 2) / 153;
    day -= (month * 153 + 2) / 5;
    year += era * 400 + (month >= 10);
    month = (month + 2) % 12;
    CHECK(year <= 9999);
    put_number(out + 5, day + 1, 2);
    memcpy(out + 8, month_names + month * 3, 3);
    put_number(out + 12, year, 4);
    put_number(out + 17, second / 3600, 2);
    put_number(out + 20, second / 60 % 60, 2);
    put_number(out + 23, second % 60, 2);
}
