"""Who may do what, said a second time: written from the words of the manual alone, slow and plain, to be compared with
the program. Rules are a dict {(principal, path): role}."""

ROLES = ["none", "view", "review", "sign", "admin"]
NONE, VIEW, REVIEW, SIGN, ADMIN = range(5)


def upwards(path):
    """The path itself and every directory above it, nearest first."""
    parts = [p for p in path.split("/") if p]
    return ["/" + "/".join(parts[:n]) for n in range(len(parts), -1, -1)]


def nearest(rules, principal, path):
    for place in upwards(path):
        if (principal, place) in rules:
            return place
    return None


def resolve(rules, user, groups, path):
    """(role, principal and path of the rule that decides or None)"""
    if user is not None:
        place = nearest(rules, user, path)
        if place is not None:
            return rules[user, place], (user, place)
    found = [(rules[g, place], len(place), g, place) for g in groups if (place := nearest(rules, g, path)) is not None]
    if not found:
        return NONE, None
    # the highest; which of several equal ones is named: the nearest, then the first by name
    best = min(found, key=lambda f: (-f[0], -f[1], f[2].encode()))
    return best[0], (best[2], best[3])


def role(rules, user, groups, path):
    return resolve(rules, user, groups, path)[0]


def inside(path, directory):
    """At or below."""
    return directory == "/" or path == directory or path.startswith(directory + "/")


def sees_below(rules, user, groups, directory, universe):
    return any(role(rules, user, groups, p) >= VIEW for p in universe if inside(p, directory))


def uniform_below(rules, user, groups, directory, universe):
    here = role(rules, user, groups, directory)
    return all(role(rules, user, groups, p) == here for p in universe if inside(p, directory))
