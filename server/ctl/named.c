/* drydock: counters and queues. */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"

/* Post {name, do, process, id}; *root may stay NULL where the answer is empty. */
static enum ctl_exit post(struct ctl *c, const char *target, json_t **root)
{
	const struct options *o = c->o;

	return ctl_post(c, target,
	    json_pack("{s:s, s:s, s:s*, s:s*}", "name", o->name, "do", o->args[0], "process", o->process, "id", o->id), root);
}

enum ctl_exit cmd_counter(struct ctl *c)
{
	const struct options *o = c->o;
	const char *what = o->args[0];
	const bool get = strcmp(what, "get") == 0;
	json_t *root = NULL;
	enum ctl_exit rc;

	if (!o->name || (!get && strcmp(what, "next") != 0 && strcmp(what, "rm") != 0))
		return ctl_usage("-i ID counter get | next | rm");
	rc = get ? ctl_get(c, ctl_query(c, "/counter", "name", o->name), &root) : post(c, "/counter", &root);
	if (!rc && o->json)
		ctl_print_answer(c);
	else if (!rc && root)
		printf("%lld\n", number_of(root, "value"));
	json_decref(root);
	return rc;
}

static void print_ticket(const json_t *ticket)
{
	printf("%4lld  ticket %lld  ", number_of(ticket, "position"), number_of(ticket, "counter"));
	print_text(text_of(ticket, "process_id"));
	putchar('\n');
}

enum ctl_exit cmd_queue(struct ctl *c)
{
	const struct options *o = c->o;
	const char *what = o->args[0];
	const bool get = strcmp(what, "get") == 0, list = strcmp(what, "list") == 0, rm = strcmp(what, "rm") == 0;
	json_t *root = NULL, *item;
	enum ctl_exit rc;
	size_t i;

	if (!o->name || (!o->process && !list && !rm) ||
	    (!get && !list && !rm && strcmp(what, "join") != 0 && strcmp(what, "leave") != 0))
		return ctl_usage("-i ID queue -p PROCESS join | leave | get, or -i ID queue list | rm");
	if (get || list)
		rc = ctl_get(c, ctl_query(c, ctl_query(c, "/queue", "name", o->name), "process", get ? o->process : NULL), &root);
	else
		rc = post(c, "/queue", &root);
	if (!rc && o->json)
		ctl_print_answer(c);
	else if (!rc && json_object_get(root, "ticket"))
		print_ticket(json_object_get(root, "ticket"));
	else if (!rc && list && json_array_size(json_object_get(root, "tickets")) == 0)
		puts("Nobody is waiting.");
	else if (!rc)
		json_array_foreach(json_object_get(root, "tickets"), i, item)
			print_ticket(item);
	json_decref(root);
	return rc;
}
