/* Comfort only; pages are complete without it. */
