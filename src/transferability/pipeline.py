"""encoder + data set → features → relatedness and scores → ranking. Read this file first."""
