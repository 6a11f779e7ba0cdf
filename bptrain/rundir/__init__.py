"""The folder of a run on disk: everything durable, and nothing about learning."""
