"""The history of our own tables, run by Alembic when a box is opened."""
