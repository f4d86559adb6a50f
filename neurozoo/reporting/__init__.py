"""What a person looks at: tables as text or Markdown, and pages with pictures."""
