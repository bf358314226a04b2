"""The command line, one file a command. Importing it is cheap: torch and diffusers come inside the commands."""
