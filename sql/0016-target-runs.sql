-- The history of one target, newest first: without this it would cost what all the others were sent too.
ALTER TABLE run_target ADD KEY by_target (site, target, run);
