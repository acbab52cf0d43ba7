/*
 * tokens: what pages and API share about API tokens: which he may see, and what he wants one to be.
 */
#ifndef DRYDOCK_WEB_TOKENS_H
#define DRYDOCK_WEB_TOKENS_H

#include "web/web.h"

#define TOKEN_EXPIRES "90d" /* unless he says otherwise */

/* His own (others false); or those of others that are for a site of which he is admin, or for every site and he is admin of some. */
enum err tokens_each(struct req *r, bool others, bool (*fn)(void *arg, const struct db_token *t), void *arg) MUST_CHECK;
/*
 * role NULL: view; site NULL or "": every site; the path is the request's "path". expires: a time from now ("90d", "12h")
 * or a date; NULL: TOKEN_EXPIRES. ERR_INPUT says what is wrong.
 */
enum err token_wish(struct req *r, const char *label, const char *role, const char *site, const char *expires, struct token_wish *out) MUST_CHECK;

#endif
