"""The question-and-answer protocols of git, Docker and Terraform: what they ask, and what is answered."""
