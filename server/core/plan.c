#include "core/plan.h"

#include <stdlib.h>

const char *plan_kind_name(enum plan_kind k)
{
	static const char *const names[] = { "add", "change", "remove" };

	return names[k];
}

void plan_init(struct plan *p)
{
	*p = (struct plan){ .arena = arena_new() };
}

void plan_release(struct plan *p)
{
	free(p->items);
	arena_free(p->arena);
	*p = (struct plan){ 0 };
}

void plan_add(struct plan *p, enum plan_kind kind, struct path path, const struct blob_id *blob, bool exec)
{
	p->items = mem_grow(p->items, &p->cap, p->n + 1, sizeof(*p->items));
	p->items[p->n++] = (struct plan_item){ kind, path_copy(path, p->arena), *blob, exec };
	switch (kind) {
	case PLAN_ADD:
		p->added++;
		break;
	case PLAN_CHANGE:
		p->changed++;
		break;
	case PLAN_REMOVE:
		p->removed++;
		break;
	}
}

bool plan_find(const struct plan *p, struct path path, size_t *i)
{
	size_t low = 0, high = p->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = path_compare(p->items[mid].path, path);

		if (!c) {
			*i = mid;
			return true;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

void plan_digest(const struct plan *p, struct sha256 *out)
{
	struct sha256_stream *s = sha256_stream_new();
	struct buf line = BUF_INIT(PATH_LIMIT + 128);

	for (size_t i = 0; i < p->n; i++) {
		const struct plan_item *item = &p->items[i];
		buf_reset(&line);
		buf_str(&line, plan_kind_name(item->kind));
		buf_char(&line, ' ');
		buf_add(&line, item->path.s, item->path.len);
		buf_char(&line, '\0');
		buf_hex(&line, item->blob.b, sizeof(item->blob.b));
		buf_str(&line, item->exec ? " 1\n" : " 0\n");
		sha256_stream_add(s, buf_text(&line), line.len);
	}
	buf_release(&line);
	sha256_stream_end_free(s, out);
}
