"""What `summarize_website` owns: what the model is told, the summary without a model, and the drafts."""
