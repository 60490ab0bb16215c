#include "edge/pages.h"

#include <string.h>

#include "edge/front_int.h"
#include "edge/pages_int.h"

#define POLICY                                                                            \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "       \
    "media-src 'self' blob:; img-src 'self' data:; base-uri 'none'; form-action 'none'; " \
    "frame-ancestors 'none'"

static const struct file {
    const char *path;
    const char *type;
    const unsigned char *data;
    const size_t *len;
} watch_files[] = {
    { "/watch/watch.js", "text/javascript; charset=utf-8", web_watch_js, &web_watch_js_len },
    { "/watch/page.css", "text/css; charset=utf-8", web_page_css, &web_page_css_len },
    { NULL, NULL, NULL, NULL },
}, status_files[] = {
    { "/status", "text/html; charset=utf-8", web_status_html, &web_status_html_len },
    { "/status.js", "text/javascript; charset=utf-8", web_status_js, &web_status_js_len },
    { "/status.css", "text/css; charset=utf-8", web_page_css, &web_page_css_len },
    { NULL, NULL, NULL, NULL },
};

static const struct file watch_page = { NULL, "text/html; charset=utf-8", web_watch_html,
                                        &web_watch_html_len };

static bool is(const struct target *t, const char *path)
{
    return slice_eq(t->path, slice_of(path, strlen(path)));
}

static bool put(const struct file *file, struct front_page *out)
{
    out->status = 200;
    out->type = file->type;
    out->cache_control = "no-cache";
    out->policy = POLICY;
    out->body = blob_new(file->data, *file->len);
    return true;
}

static bool find(const struct file *files, const struct target *t, struct front_page *out)
{
    for (; files->path != NULL; files++)
        if (is(t, files->path))
            return put(files, out);
    return false;
}

/* One copy per loop, however many are watching: references of a blob are a loop's own. */
static bool put_player(struct front_loop *f, struct front_page *out)
{
    const struct front_hooks *hooks = &f->front->hooks;

    if (hooks->player == NULL)
        return false;
    if (f->player == NULL)
        f->player = blob_new(hooks->player, hooks->player_len);
    out->status = 200;
    out->type = "text/javascript; charset=utf-8";
    out->cache_control = "max-age=3600";
    out->body = f->player;
    if (f->player != NULL)
        (void)own_ref(&f->player->own);
    return true;
}

bool pages_watch(struct front_loop *f, const struct target *t, struct front_page *out)
{
    if (t->kind == TARGET_WATCH)
        return put(&watch_page, out);
    if (is(t, "/watch/dash.all.min.js"))
        return put_player(f, out);
    return find(watch_files, t, out);
}

bool pages_status(const struct target *t, struct front_page *out)
{
    return find(status_files, t, out);
}
