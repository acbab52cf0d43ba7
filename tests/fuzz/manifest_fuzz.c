/*
 * Any bytes as lines of a manifest and as the head of a release: what production believes after their signature. What is
 * decoded must be written again with exactly these bytes.
 */
#include "core/head.h"
#include "core/manifest.h"

static void must_equal(const struct buf *b, const void *data, size_t size)
{
	if (b->over || b->len != size || memcmp(b->p, data, size) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf out = BUF_INIT(1u << 21);
	struct arena *a = arena_new();
	struct manifest_line l;
	struct head h;

	if (head_decode(&h, (const char *)data, size, a) == ERR_OK) {
		if (head_encode(&h, &out))
			abort();
		must_equal(&out, data, size);
	}
	for (size_t at = 0, n; at < size; at += n + 1) {
		const uint8_t *end = memchr(data + at, '\n', size - at);
		char *line;

		n = end ? (size_t)(end - data) - at : size - at;
		line = arena_dupn(a, data + at, n);
		/* A line is text that ends at its first NUL. */
		if (strlen(line) != n || manifest_decode(&l, line))
			continue;
		buf_reset(&out);
		manifest_encode(&l, &out);
		if (!out.len || out.p[out.len - 1] != '\n')
			abort();
		out.len--;
		must_equal(&out, data + at, n);
		manifest_plain(&l, &out);
	}
	buf_release(&out);
	arena_free(a);
	return 0;
}
