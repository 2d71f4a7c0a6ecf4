"""fastai Learners for every network of the study."""
