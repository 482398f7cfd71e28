-- What shows that a phone's router rewrites its messages (SIP ALG); null if nothing does.
ALTER TABLE binding ADD alg text;
