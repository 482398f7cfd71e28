-- What both who talk hear when a recording begins: a sound's name, as that of music.
ALTER TABLE tenant ADD announce_recording text;
ALTER TABLE extension ADD announce_recording text;
