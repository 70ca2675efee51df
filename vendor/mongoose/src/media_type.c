/* media_type.c: the type of a file by its extension, letter case ignored. */
#include "http_static.h"

static const struct {
  const char *ext, *type;
} media_types[] = {
    {"html", MG_TYPE_TEXT("html")},
    {"htm", MG_TYPE_TEXT("html")},
    {"shtml", MG_TYPE_TEXT("html")},
    {"css", MG_TYPE_TEXT("css")},
    {"js", MG_TYPE_TEXT("javascript")},
    {"mjs", MG_TYPE_TEXT("javascript")},
    {"txt", MG_TYPE_TEXT("plain")},
    {"csv", "text/csv"},
    {"gif", "image/gif"},
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"webp", "image/webp"},
    {"svg", "image/svg+xml"},
    {"ico", "image/x-icon"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"ttf", "font/ttf"},
    {"avi", "video/x-msvideo"},
    {"mov", "video/quicktime"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"3gp", "video/3gpp"},
    {"mp3", "audio/mpeg"},
    {"wav", "audio/wav"},
    {"json", "application/json"},
    {"pdf", "application/pdf"},
    {"doc", "application/msword"},
    {"zip", "application/zip"},
    {"gz", "application/gzip"},
    {"tgz", "application/tar-gz"},
    {"exe", "application/octet-stream"},
    {"wasm", "application/wasm"},
};

static bool has_control(struct mg_str s) {
  size_t i;
  for (i = 0; i < s.len; i++) {
    if ((unsigned char) s.buf[i] < ' ' || s.buf[i] == 0x7f) return true;
  }
  return false;
}

struct mg_str mg__media_type(const char *name, struct mg_str types) {
  const char *slash = strrchr(name, '/'), *dot = strrchr(slash == NULL ? name : slash, '.');
  struct mg_str ext = {"", 0}, item, key, type = {NULL, 0};
  size_t i;
  if (dot != NULL) ext.buf = dot + 1, ext.len = strlen(dot + 1);
  while (mg__next_item(&types, ',', &item)) {
    if (!mg__next_item(&item, '=', &key) || !mg__next_item(&item, ',', &type)) continue;
    if (type.len == 0 || has_control(type)) continue;
    if (key.len == 1 && key.buf[0] == '*') return type;
    if (ext.len > 0 && mg__same_nocase(key, ext)) return type;
  }
  type.buf = MG_TYPE_TEXT("plain");
  for (i = 0; i < sizeof(media_types) / sizeof(media_types[0]); i++) {
    if (mg__streq_nocase(ext, media_types[i].ext)) type.buf = media_types[i].type;
  }
  type.len = strlen(type.buf);
  return type;
}
