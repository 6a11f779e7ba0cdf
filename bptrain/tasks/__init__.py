"""What depends on the task of a data set: metrics, pictures, the form of an answer, sampling."""
