/*
 * signing: what a site asks for with each signature besides the role: the password again, and what the signature means.
 */
#ifndef DRYDOCK_WEB_SIGNING_H
#define DRYDOCK_WEB_SIGNING_H

#include "web/web.h"

/*
 * act "sign" on a site with sign_password: is it really he? Anything else: ERR_OK. ERR_RETRY: return it, the handler is
 * called again where it may wait. ERR_DENIED, ERR_BUSY, ERR_WAIT: say why. The password is forgotten when it was checked.
 */
enum err sign_password(struct req *r, const char *act, const char *password) MUST_CHECK;
/* For {{>signature}} on a form that signs: meanings, ask_meaning, ask_password, cannot_sign. chosen: may be NULL. */
void sign_model(struct req *r, struct view_map *m, const char *chosen);

#endif
