"""Whether the files of a workspace are as they were written and agree, and how they are mended where they are not."""
