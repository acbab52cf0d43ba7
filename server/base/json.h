/*
 * json: jansson, with what DryDock adds: the canonical form of RFC 8785 (integers only), safe getters, and a streaming
 * writer for lists too long to hold. Rooms include this header, not jansson's.
 */
#ifndef DRYDOCK_BASE_JSON_H
#define DRYDOCK_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Bytes as RFC 8785 writes them: members sorted by UTF-16 code units, no space, shortest escapes. Reals are refused. */
enum err json_canonical(struct buf *out, const json_t *value) MUST_CHECK;
/* Duplicate members refused, at most depth 32, the whole input must be one value; *out is a new reference. */
enum err json_parse(json_t **out, const char *text, size_t len) MUST_CHECK;

/* Members by name: the default (or NULL) if absent or null; a wrong type sets *bad, which is sticky and starts false. */
const char *json_get_str(const json_t *obj, const char *name, bool *bad);
int64_t json_get_int(const json_t *obj, const char *name, int64_t fallback, bool *bad);
bool json_get_bool(const json_t *obj, const char *name, bool fallback, bool *bad);
json_t *json_get_list(const json_t *obj, const char *name, bool *bad); /* borrowed; NULL if absent */
json_t *json_get_obj(const json_t *obj, const char *name, bool *bad); /* borrowed; NULL if absent */

/*
 * Writing straight into a buffer, without a tree: begins, ends, members; commas are kept by the writer.
 * Strings must be UTF-8 (bad bytes become U+FFFD).
 */
struct json_out {
	struct buf *b;
	bool comma;
};
void json_out_begin(struct json_out *o, char open); /* '{' or '[' as a value */
void json_out_end(struct json_out *o, char close);
void json_out_name(struct json_out *o, const char *name);
void json_out_str(struct json_out *o, const char *value); /* NULL writes null */
void json_out_strn(struct json_out *o, const char *value, size_t len);
void json_out_int(struct json_out *o, int64_t value);
void json_out_bool(struct json_out *o, bool value);
void json_out_null(struct json_out *o);
/* name and value in one call */
void json_out_kstr(struct json_out *o, const char *name, const char *value);
void json_out_kint(struct json_out *o, const char *name, int64_t value);
void json_out_kbool(struct json_out *o, const char *name, bool value);

#endif
