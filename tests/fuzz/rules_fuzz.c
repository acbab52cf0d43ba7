/*
 * Any bytes as the rules of a log commit: roles, requirements and fields. What is decoded must be written again with
 * exactly these bytes, and every question must have an answer.
 */
#include "core/field.h"
#include "core/role.h"

static void ask(const struct rules *r)
{
	static const char *const groups[] = { "unix:@web", "own:@editors" };
	static const char *const paths[] = { "/", "/docs", "/docs/a.html", "/docsx" };
	struct buf text = BUF_INIT(1u << 20);
	struct arena *a = arena_new();

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		const struct identity who = { .user = "own:alice", .groups = groups, .n_groups = 2 };
		struct path p;
		struct field_ask fields;

		if (path_parse(&p, paths[i], strlen(paths[i]), a))
			abort();
		const struct role_answer answer = role_resolve(r, &who, p);
		if (answer.role > ROLE_ADMIN || (role_uniform_below(r, &who, p) && answer.role >= ROLE_VIEW && !role_sees_below(r, &who, p)))
			abort();
		(void)rules_required(r, p);
		role_explain(r, &who, p, &text);
		field_ask_begin(&fields, r, "sign", a);
		field_ask_path(&fields, p);
		(void)!field_ask_end(&fields);
	}
	buf_release(&text);
	arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf out = BUF_INIT(1u << 22);
	struct rules *r;

	if (rules_decode(&r, (const char *)data, size) == ERR_OK) {
		rules_encode(r, &out);
		if (out.over || out.len != size || (size && memcmp(out.p, data, size) != 0))
			abort();
		ask(r);
		rules_unref(r);
	}
	buf_release(&out);
	return 0;
}
