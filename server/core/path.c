#include "core/path.h"

#include <string.h>

#include "base/utf8.h"

/* --- what git reserves ------------------------------------------------------------------------------------------------ */

/* Code points that HFS+ ignores when it compares names: ".g\u200cit" is ".git" there. */
static bool hfs_ignores(uint32_t cp)
{
	return (cp >= 0x200c && cp <= 0x200f) || (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x206a && cp <= 0x206f) ||
	       cp == 0xfeff;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/*
 * Does a piece that ends at a backslash or at the end name the repository on NTFS: ".git" or its short name "git~1",
 * then only dots and blanks, or the name of a stream (":...")?
 */
static bool ntfs_dotgit(const char *s, size_t n)
{
	static const char *const names[] = { ".git", "git~1" };

	for (size_t k = 0; k < 2; k++) {
		size_t len = strlen(names[k]), i = 0;
		if (n < len)
			continue;
		while (i < len && lower(s[i]) == names[k][i])
			i++;
		if (i < len)
			continue;
		while (i < n && (s[i] == '.' || s[i] == ' '))
			i++;
		if (i == n || s[i] == ':')
			return true;
	}
	return false;
}

/* The rules of both file systems at once, each piece between backslashes for itself. part is valid UTF-8. */
static bool reserved_by_git(const char *part, size_t len)
{
	char plain[PATH_PART_LIMIT];
	size_t n = 0, start = 0;

	for (size_t i = 0, step; i < len; i += step) {
		uint32_t cp = 0;
		step = utf8_decode(part + i, len - i, &cp);
		if (step == 0)
			return true; /* not reached with valid UTF-8; a doubt is a refusal */
		if (hfs_ignores(cp))
			continue;
		memcpy(plain + n, part + i, step);
		n += step;
	}
	for (size_t i = 0; i <= n; i++) {
		if (i < n && plain[i] != '\\')
			continue;
		if (ntfs_dotgit(plain + start, i - start))
			return true;
		start = i + 1;
	}
	return false;
}

/* --- parsing ---------------------------------------------------------------------------------------------------------- */

const char *path_part_problem(const char *part, size_t len)
{
	if (len == 0)
		return "empty part";
	if (len > PATH_PART_LIMIT)
		return "a part longer than 255 bytes";
	if ((len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.'))
		return "\".\" or \"..\" as a part";
	bool maybe_git = false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)part[i];
		if (c < 0x20 || c == 0x7f)
			return "control byte";
		if (c == '/')
			return "slash inside a part";
		maybe_git |= c == '.' || c == '~';
	}
	if (!utf8_valid(part, len))
		return "not valid UTF-8";
	if (maybe_git && reserved_by_git(part, len))
		return "reserved by git";
	return NULL;
}

static enum err check(const char *s, size_t len)
{
	if (len == 0 || s[0] != '/')
		return err_set(ERR_INPUT, "not a path: it must begin with a slash");
	if (len > PATH_LIMIT)
		return err_set(ERR_INPUT, "not a path: longer than %d bytes", PATH_LIMIT);
	if (len == 1)
		return ERR_OK;
	for (size_t start = 1; start <= len;) {
		const char *slash = memchr(s + start, '/', len - start);
		size_t end = slash ? (size_t)(slash - s) : len;
		const char *problem = path_part_problem(s + start, end - start);
		if (problem)
			return err_set(ERR_INPUT, "not a path: %s", problem);
		start = end + 1;
	}
	return ERR_OK;
}

enum err path_parse(struct path *out, const char *bytes, size_t len, struct arena *a)
{
	enum err e = check(bytes, len);

	if (e)
		return e;
	*out = (struct path){ arena_dupn(a, bytes, len), len };
	return ERR_OK;
}

enum err path_check(struct path *out, const char *s)
{
	size_t len = strlen(s);
	enum err e = check(s, len);

	if (e)
		return e;
	*out = (struct path){ s, len };
	return ERR_OK;
}

/* --- relations -------------------------------------------------------------------------------------------------------- */

struct path path_root(void)
{
	return (struct path){ "/", 1 };
}

bool path_is_root(struct path p)
{
	return p.len == 1;
}

bool path_equal(struct path a, struct path b)
{
	return a.len == b.len && memcmp(a.s, b.s, a.len) == 0;
}

bool path_covers(struct path dir, struct path p)
{
	if (path_is_root(dir))
		return true;
	return p.len >= dir.len && memcmp(dir.s, p.s, dir.len) == 0 && (p.len == dir.len || p.s[dir.len] == '/');
}

bool path_parent(struct path p, struct path *parent, struct arena *a)
{
	size_t len = p.len;

	if (path_is_root(p))
		return false;
	while (p.s[len - 1] != '/')
		len--;
	if (len > 1)
		len--;
	*parent = (struct path){ arena_dupn(a, p.s, len), len };
	return true;
}

const char *path_name(struct path p)
{
	size_t at = p.len;

	while (p.s[at - 1] != '/')
		at--;
	return p.s + at;
}

struct path path_join(struct path dir, const char *name, struct arena *a)
{
	struct path p;
	size_t base = path_is_root(dir) ? 0 : dir.len, n = strlen(name);
	char *s = arena_alloc(a, base + 1 + n + 1);

	memcpy(s, dir.s, base);
	s[base] = '/';
	memcpy(s + base + 1, name, n);
	p.s = s;
	p.len = base + 1 + n;
	return p;
}

struct path path_copy(struct path p, struct arena *a)
{
	return (struct path){ arena_dupn(a, p.s, p.len), p.len };
}

int path_compare(struct path a, struct path b)
{
	int c = memcmp(a.s, b.s, a.len < b.len ? a.len : b.len);

	if (c)
		return c;
	return a.len < b.len ? -1 : a.len > b.len;
}

void path_hash(struct path p, struct sha256 *out)
{
	sha256_of(out, p.s, p.len);
}

void path_key(struct path p, struct path_key *out)
{
	const char *top = memchr(p.s + 1, '/', p.len - 1);
	size_t dir_len = (size_t)(path_name(p) - p.s) - 1, top_len = top ? (size_t)(top - p.s) : 0;
	struct sha256 hash;

	sha256_of(&hash, p.s, top_len);
	memcpy(out->b, hash.b, 4);
	sha256_of(&hash, p.s, dir_len);
	memcpy(out->b + 4, hash.b, 4);
	sha256_of(&hash, p.s, p.len);
	memcpy(out->b + 8, hash.b, sizeof hash.b);
}

/* --- sites ------------------------------------------------------------------------------------------------------------ */

static bool ends_with(const char *s, size_t n, const char *end)
{
	size_t len = strlen(end);

	return n >= len && memcmp(s + n - len, end, len) == 0;
}

bool site_name_valid(const char *name)
{
	size_t n = strnlen(name, SITE_NAME_LIMIT + 1);
	bool first = true; /* of a label */

	if (n == 0 || n > SITE_NAME_LIMIT)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = name[i];
		bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		if (first ? !word : !(word || c == '_' || c == '-' || c == '.'))
			return false;
		first = c == '.';
	}
	return !first && !ends_with(name, n, ".git") && !ends_with(name, n, ".lock") && strcmp(name, "installation") != 0;
}
